--! description = "One place on one day: temperatures, precipitation as the messages add up, mean air quality."
--! params      = { dt = "date" }
--! schedule    = { cron = "*/10 * * * *", zone = "Europe/Paris" }
--! partition   = "dt"
--! [output.table]
--! name        = "daily_weather_by_city"
--! [output.jsonl]
--! file        = "aggregates.jsonl"
--! [output.hbase]
--! table       = "@hbase.table"
--! row_key     = ["place_id", "dt"]
--! [check]
--! not_null    = ["temp_avg"]

-- The API knows no id of a point at sea, or says 0: their coordinates tell such points apart.
--
-- The _sum columns add up one-hour and three-hour amounts of messages that overlap: polled every ten
-- minutes they count rain about six times. The _total columns are for true amounts and are null so far.
SELECT
    dt,
    city_id,
    last_value(city ORDER BY event_time, kafka_partition, kafka_offset) AS city,
    last_value(country ORDER BY event_time, kafka_partition, kafka_offset) AS country,
    count(*) AS observations,
    avg(temp) AS temp_avg,
    min(temp) AS temp_min,
    max(temp) AS temp_max,
    sum(rain_1h) AS rain_1h_sum,
    sum(rain_3h) AS rain_3h_sum,
    sum(snow_1h) AS snow_1h_sum,
    sum(snow_3h) AS snow_3h_sum,
    CAST(NULL AS DOUBLE) AS rain_total,
    CAST(NULL AS DOUBLE) AS snow_total,
    avg(aqi) AS aqi_avg,
    place_id
FROM (
    SELECT
        *,
        CASE
            WHEN city_id = 0 AND lat IS NOT NULL AND lon IS NOT NULL
                THEN concat(CAST(lat AS DECIMAL(9, 4)), ',', CAST(lon AS DECIMAL(9, 4)))
            ELSE CAST(city_id AS TEXT)
        END AS place_id
    FROM weather
    WHERE dt = $dt
)
GROUP BY dt, city_id, place_id
ORDER BY city_id, place_id
