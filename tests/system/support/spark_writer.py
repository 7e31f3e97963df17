"""Tables as Spark 3.5 with Delta 3.3 writes them; test_spark_tables.py runs this in an environment of its own.

    spark_writer.py LAKE EXPECTED JARS     writes the tables below LAKE, and the rows of each as Spark reads them below EXPECTED
"""

import glob
import sys

from pyspark.sql import SparkSession

COLUMNS = """
    id BIGINT, small TINYINT, whole INT, city STRING, temp DOUBLE, thin FLOAT, price DECIMAL(15, 2), wide DECIMAL(38, 6),
    flag BOOLEAN, day DATE, at TIMESTAMP, raw BINARY
"""
# Rows of a range of ids: nulls, NaN, infinities, both zeros, texts over 64 bytes, the ends of time.
ROWS = """
    SELECT id, CAST(id % 100 AS TINYINT) AS small, CAST(id * 1000 AS INT) AS whole,
        CASE id % 5 WHEN 0 THEN NULL WHEN 1 THEN repeat('漢', 30) WHEN 2 THEN '' ELSE concat('city ', id) END AS city,
        CASE id % 6 WHEN 0 THEN CAST('NaN' AS DOUBLE) WHEN 1 THEN NULL WHEN 2 THEN -0.0D WHEN 3 THEN CAST('Infinity' AS DOUBLE) ELSE id / 4.0D END AS temp,
        CASE id % 4 WHEN 0 THEN CAST('NaN' AS FLOAT) ELSE CAST(id AS FLOAT) END AS thin,
        CAST(id * 1.07 AS DECIMAL(15, 2)) AS price, CAST('12345678901234567890123.000001' AS DECIMAL(38, 6)) + id AS wide,
        id % 3 = 0 AS flag, CASE id % 7 WHEN 0 THEN DATE '0001-01-01' WHEN 1 THEN DATE '9999-12-31' ELSE date_add(DATE '2026-01-15', CAST(id AS INT)) END AS day,
        CASE id % 7 WHEN 1 THEN TIMESTAMP '9999-12-31 23:59:59.999999' WHEN 2 THEN NULL ELSE TIMESTAMP '2026-03-29 00:30:00.123456' + make_interval(0, 0, 0, 0, CAST(id AS INT)) END AS at,
        CAST(concat('raw ', id) AS BINARY) AS raw
    FROM range({first}, {after}, 1, {files})
"""


class Writer:
    def __init__(self, lake: str, jars: str):
        self.lake = lake
        builder = SparkSession.builder.master("local[2]").config("spark.jars", ",".join(sorted(glob.glob(f"{jars}/*.jar"))))
        options = {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "2",
            "spark.ui.enabled": "false",
            "spark.sql.warehouse.dir": f"{lake}-warehouse",
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
            "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
            "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
            "spark.driver.memory": "1g",
        }
        for key, value in options.items():
            builder = builder.config(key, value)
        self.spark = builder.getOrCreate()
        self.spark.sparkContext.setLogLevel("ERROR")

    def sql(self, text: str, name: str = ""):
        return self.spark.sql(text.replace("{t}", f"delta.`{self.lake}/{name}`"))

    def create(self, name: str, more: str = "", **properties: str) -> None:
        listed = ", ".join(f"'{key.replace('_', '.')}' = '{value}'" for key, value in properties.items())
        listed = f"'delta.enableDeletionVectors' = 'false'{', ' if listed else ''}{listed}" if "delta_enableDeletionVectors" not in properties else listed
        self.sql(f"CREATE TABLE {{t}} ({COLUMNS}) USING delta {more} TBLPROPERTIES ({listed})", name)

    def insert(self, name: str, first: int, after: int, files: int = 2) -> None:
        self.sql(f"INSERT INTO {{t}} {ROWS.format(first=first, after=after, files=files)}", name)

    def several(self, name: str, commits: int = 5) -> None:
        for number in range(commits):
            self.insert(name, number * 10, number * 10 + 10)

    def many_files(self) -> None:
        self.create("many_files")
        self.insert("many_files", 0, 200, 8)

    def partitioned(self) -> None:
        self.create("partitioned", "PARTITIONED BY (day, city)")
        self.several("partitioned", 3)

    def v2_checkpoints(self) -> None:
        self.create("v2_checkpoints", delta_checkpointPolicy="v2", delta_checkpointInterval="2")
        self.several("v2_checkpoints", 7)

    def struct_statistics(self) -> None:
        as_struct = {"delta_checkpoint_writeStatsAsStruct": "true", "delta_checkpoint_writeStatsAsJson": "false"}
        self.create("struct_statistics", delta_checkpointInterval="2", **as_struct)
        self.several("struct_statistics", 5)

    def row_tracking(self) -> None:
        self.create("row_tracking", delta_enableRowTracking="true")
        self.several("row_tracking", 3)
        self.sql("UPDATE {t} SET whole = 7 WHERE id % 4 = 1", "row_tracking")

    def change_feed(self) -> None:
        self.create("change_feed", delta_enableChangeDataFeed="true")
        self.several("change_feed", 2)
        self.sql("UPDATE {t} SET city = 'Lima' WHERE id % 4 = 1", "change_feed")
        self.sql("DELETE FROM {t} WHERE id % 5 = 2", "change_feed")

    def commit_timestamps(self) -> None:
        self.create("commit_timestamps", delta_enableInCommitTimestamps="true")
        self.several("commit_timestamps", 2)

    def clustered(self) -> None:
        self.create("clustered", "CLUSTER BY (id, city)")
        self.several("clustered", 4)
        self.sql("OPTIMIZE {t}", "clustered")

    def int96(self) -> None:
        self.spark.conf.set("spark.sql.parquet.outputTimestampType", "INT96")
        self.create("int96")
        self.several("int96", 2)
        self.spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")

    def evolved(self) -> None:
        self.create("evolved")
        self.insert("evolved", 0, 10)
        self.sql("ALTER TABLE {t} ADD COLUMNS (extra BIGINT, place STRUCT<lat: DOUBLE, lon: DOUBLE>)", "evolved")
        rows = ROWS.format(first=10, after=20, files=1)
        self.sql(f"INSERT INTO {{t}} SELECT *, id AS extra, named_struct('lat', 1.5D, 'lon', CAST(NULL AS DOUBLE)) FROM ({rows})", "evolved")

    def maintained(self) -> None:
        self.create("maintained", delta_checkpointInterval="3")
        self.several("maintained", 4)
        self.sql("DELETE FROM {t} WHERE id % 3 = 0", "maintained")
        self.sql("OPTIMIZE {t} ZORDER BY (id)", "maintained")
        self.sql("VACUUM {t} RETAIN 0 HOURS", "maintained")
        self.insert("maintained", 100, 110)

    def constrained(self) -> None:
        self.create("constrained")
        self.sql("ALTER TABLE {t} ADD CONSTRAINT positive CHECK (id >= 0)", "constrained")
        self.several("constrained", 2)

    def deletion_vectors(self) -> None:
        self.create("deletion_vectors", delta_enableDeletionVectors="true")
        self.insert("deletion_vectors", 0, 50, 1)
        self.sql("DELETE FROM {t} WHERE id = 7", "deletion_vectors")

    def purged_vectors(self) -> None:
        self.create("purged_vectors", delta_enableDeletionVectors="true")
        self.insert("purged_vectors", 0, 50, 1)
        self.sql("DELETE FROM {t} WHERE id = 7", "purged_vectors")
        self.sql("REORG TABLE {t} APPLY (PURGE)", "purged_vectors")

    def column_mapping(self) -> None:
        self.create("column_mapping", delta_columnMapping_mode="name")
        self.several("column_mapping", 2)


def main() -> None:
    lake, expected, jars = sys.argv[1:]
    writer = Writer(lake, jars)
    for name in [
        "many_files", "partitioned", "v2_checkpoints", "struct_statistics", "row_tracking", "change_feed", "commit_timestamps",
        "clustered", "int96", "evolved", "maintained", "constrained", "deletion_vectors", "purged_vectors", "column_mapping",
    ]:  # fmt: skip
        getattr(writer, name)()
        writer.spark.read.format("delta").load(f"{lake}/{name}").coalesce(1).write.parquet(f"{expected}/{name}")
        print(name, flush=True)


if __name__ == "__main__":
    main()
