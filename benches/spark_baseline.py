"""The baseline of benches/spark.py: Spark Structured Streaming lands a topic as Parquet on HDFS.

    spark_baseline.py SERVERS TOPIC JARS     for each line of stdin, an empty directory on HDFS, lands the whole topic
                                             below it, in one session, and prints the seconds of it

It is as fast as its design allows: one micro-batch, a plan of generated code without Python, one parse of each
message with exactly the fields that table `weather` needs, no validation of messages. Each stream is a new one with a
checkpoint of its own, since the landing that it is compared with starts from the beginning as well.
"""

import os
import sys
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

MESSAGE = """
    weather STRUCT<
        id: BIGINT, name: STRING, dt: BIGINT, timezone: BIGINT, visibility: DOUBLE,
        coord: STRUCT<lat: DOUBLE, lon: DOUBLE>,
        wind: STRUCT<speed: DOUBLE, deg: DOUBLE, gust: DOUBLE>,
        clouds: STRUCT<all: DOUBLE>,
        sys: STRUCT<country: STRING, sunrise: BIGINT, sunset: BIGINT>,
        main: STRUCT<temp: DOUBLE, feels_like: DOUBLE, temp_min: DOUBLE, temp_max: DOUBLE, pressure: DOUBLE,
            sea_level: DOUBLE, grnd_level: DOUBLE, humidity: DOUBLE>,
        weather: ARRAY<STRUCT<id: BIGINT, main: STRING, description: STRING>>>,
    precipitations_info STRUCT<rain_1h: DOUBLE, rain_3h: DOUBLE, snow_1h: DOUBLE, snow_3h: DOUBLE>,
    air_pollution STRUCT<list: ARRAY<STRUCT<
        main: STRUCT<aqi: DOUBLE>,
        components: STRUCT<co: DOUBLE, no: DOUBLE, no2: DOUBLE, o3: DOUBLE, so2: DOUBLE, pm2_5: DOUBLE, pm10: DOUBLE,
            nh3: DOUBLE>>>>
"""

# The columns of queries/tables/weather.sql, in their order.
COLUMNS = """
    to_date(timestamp) AS dt
    timestamp AS event_time
    timestamp_seconds(w.dt) AS observed_at
    w.id AS city_id
    w.name AS city
    w.sys.country AS country
    w.coord.lat AS lat
    w.coord.lon AS lon
    w.timezone AS utc_offset_s
    w.main.temp AS temp
    w.main.feels_like AS feels_like
    w.main.temp_min AS temp_min
    w.main.temp_max AS temp_max
    w.main.pressure AS pressure
    w.main.sea_level AS sea_level
    w.main.grnd_level AS grnd_level
    w.main.humidity AS humidity
    w.visibility AS visibility
    w.wind.speed AS wind_speed
    w.wind.deg AS wind_deg
    w.wind.gust AS wind_gust
    w.clouds.all AS clouds
    get(w.weather, 0).id AS condition_id
    get(w.weather, 0).main AS condition
    get(w.weather, 0).description AS description
    rain.rain_1h AS rain_1h
    rain.rain_3h AS rain_3h
    rain.snow_1h AS snow_1h
    rain.snow_3h AS snow_3h
    timestamp_seconds(nullif(w.sys.sunrise, 0)) AS sunrise
    timestamp_seconds(nullif(w.sys.sunset, 0)) AS sunset
    nullif(w.sys.sunset, 0) - nullif(w.sys.sunrise, 0) AS day_length_s
    air.main.aqi AS aqi
    air.components.co AS co
    air.components.no AS no
    air.components.no2 AS no2
    air.components.o3 AS o3
    air.components.so2 AS so2
    air.components.pm2_5 AS pm2_5
    air.components.pm10 AS pm10
    air.components.nh3 AS nh3
    topic AS kafka_topic
    partition AS kafka_partition
    offset AS kafka_offset
    text AS value
"""


def start(jars: str, cores: int) -> SparkSession:
    builder = SparkSession.builder.master(f"local[{cores}]").appName("baseline")
    options = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.jars": ",".join(os.path.join(jars, name) for name in sorted(os.listdir(jars))),
        "spark.log.level": "ERROR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # The settings of HDFS in the stack, which also hold for the landing.
        "spark.hadoop.dfs.replication": "1",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # `dt` is a day in this zone.
        "spark.sql.session.timeZone": "Europe/Paris",
    }
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def rows(spark: SparkSession, servers: str, topic: str, cores: int) -> DataFrame:
    source = {
        "kafka.bootstrap.servers": servers,
        "subscribe": topic,
        "startingOffsets": "earliest",
        # Uses every core, independent of the number of topic partitions.
        "minPartitions": str(2 * cores),
    }
    stream = spark.readStream.format("kafka").options(**source).load()
    text = stream.withColumn("text", f.col("value").cast("string"))
    parsed = text.withColumn("message", f.from_json("text", MESSAGE))
    sections = parsed.selectExpr(
        "topic", "partition", "offset", "timestamp", "text", "message.weather AS w", "message.precipitations_info AS rain",
        "get(message.air_pollution.list, 0) AS air",
    )  # fmt: skip
    return sections.selectExpr(*COLUMNS.strip().splitlines())


def land(stream: DataFrame, directory: str) -> float:
    started = time.perf_counter()
    writer = stream.writeStream.format("parquet").partitionBy("dt").trigger(availableNow=True)
    query = writer.option("checkpointLocation", f"{directory}/checkpoint").start(f"{directory}/weather")
    query.awaitTermination()
    return time.perf_counter() - started


def main() -> None:
    servers, topic, jars = sys.argv[1:]
    cores = os.cpu_count()
    stream = rows(start(jars, cores), servers, topic, cores)
    for line in sys.stdin:
        print(f"{land(stream, line.strip()):.3f}", flush=True)


if __name__ == "__main__":
    main()
