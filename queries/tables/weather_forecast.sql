--! description = "One step of a forecast: what a message said of a later moment in its city."
--! topic       = "@kafka.topic"
--! partition   = "dt"
--!
--! [message.weather]
--! id          = "bigint not null"
--! name        = "text not null"
--! [[message.forecast."list!"]]
--! dt          = "bigint not null"
--! visibility  = "double"
--! pop         = "double"
--! main        = { temp = "double", feels_like = "double", temp_min = "double", temp_max = "double", pressure = "double", humidity = "double" }
--! clouds      = { all = "double" }
--! wind        = { speed = "double", deg = "double", gust = "double" }
--! rain        = { 3h = "double" }
--! snow        = { 3h = "double" }
--! weather     = [{ id = "bigint", main = "text" }]

-- Units: °C, hPa, %, m, m/s, degrees, mm over the 3 hours that end at valid_at; pop is 0 to 1.
SELECT
    event_day(kafka_timestamp) AS dt,
    kafka_timestamp AS event_time,
    city_id,
    city,
    to_timestamp_seconds(step['dt']) AS valid_at,
    (step['dt'] - to_unixtime(kafka_timestamp)) / 3600.0 AS lead_h,
    step['main']['temp'] AS temp,
    step['main']['feels_like'] AS feels_like,
    step['main']['temp_min'] AS temp_min,
    step['main']['temp_max'] AS temp_max,
    step['main']['pressure'] AS pressure,
    step['main']['humidity'] AS humidity,
    step['clouds']['all'] AS clouds,
    step['wind']['speed'] AS wind_speed,
    step['wind']['deg'] AS wind_deg,
    step['wind']['gust'] AS wind_gust,
    step['visibility'] AS visibility,
    step['pop'] AS pop,
    step['rain']['3h'] AS rain_3h,
    step['snow']['3h'] AS snow_3h,
    step['weather'][1]['id'] AS condition_id,
    step['weather'][1]['main'] AS condition,
    kafka_topic,
    kafka_partition,
    kafka_offset
FROM (
    SELECT
        kafka_topic,
        kafka_partition,
        kafka_offset,
        kafka_timestamp,
        message['weather']['id'] AS city_id,
        message['weather']['name'] AS city,
        unnest(message['forecast']['list']) AS step
    FROM messages
)
