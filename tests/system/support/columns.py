"""The documented columns of every table, in their order, by what they hold."""

import pyarrow as pa

DAY, INSTANT, MEASURE, INTEGER, TEXT, BYTES = "day", "instant", "measure", "integer", "text", "bytes"


def _columns(**kinds: str) -> dict[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


def _ordered(order: str, **kinds: str) -> dict[str, str]:
    by_name = _columns(**kinds)
    assert sorted(order.split()) == sorted(by_name)
    return {name: by_name[name] for name in order.split()}


WEATHER = _ordered(
    """dt event_time observed_at city_id city country lat lon utc_offset_s temp feels_like temp_min temp_max pressure
    sea_level grnd_level humidity visibility wind_speed wind_deg wind_gust clouds condition_id condition description
    rain_1h rain_3h snow_1h snow_3h sunrise sunset day_length_s aqi co no no2 o3 so2 pm2_5 pm10 nh3
    kafka_topic kafka_partition kafka_offset value""",
    day="dt",
    instant="event_time observed_at sunrise sunset",
    integer="city_id utc_offset_s condition_id day_length_s kafka_partition kafka_offset",
    text="city country condition description kafka_topic value",
    measure="""lat lon temp feels_like temp_min temp_max pressure sea_level grnd_level humidity visibility wind_speed
    wind_deg wind_gust clouds rain_1h rain_3h snow_1h snow_3h aqi co no no2 o3 so2 pm2_5 pm10 nh3""",
)

WEATHER_FORECAST = _ordered(
    """dt event_time city_id city valid_at lead_h temp feels_like temp_min temp_max pressure humidity clouds wind_speed
    wind_deg wind_gust visibility pop rain_3h snow_3h condition_id condition kafka_topic kafka_partition
    kafka_offset""",
    day="dt",
    instant="event_time valid_at",
    integer="city_id condition_id kafka_partition kafka_offset",
    text="city condition kafka_topic",
    measure="""lead_h temp feels_like temp_min temp_max pressure humidity clouds wind_speed wind_deg wind_gust
    visibility pop rain_3h snow_3h""",
)

DAILY = _ordered(
    """dt city_id city country observations temp_avg temp_min temp_max rain_1h_sum rain_3h_sum snow_1h_sum snow_3h_sum
    rain_total snow_total aqi_avg place_id""",
    day="dt",
    integer="city_id observations",
    text="city country place_id",
    measure="""temp_avg temp_min temp_max rain_1h_sum rain_3h_sum snow_1h_sum snow_3h_sum rain_total snow_total
    aqi_avg""",
)

DEAD_LETTERS = _ordered(
    "received_at source kafka_topic kafka_partition kafka_offset path line reason detail value",
    instant="received_at",
    integer="kafka_partition kafka_offset line",
    text="source kafka_topic path reason detail",
    bytes="value",
)

TABLES = {
    "weather": WEATHER,
    "weather_forecast": WEATHER_FORECAST,
    "daily_weather_by_city": DAILY,
    "dead_letters": DEAD_LETTERS,
}

COMPLETENESS = _ordered(
    "kafka_topic kafka_partition table_name next_offset complete_until last_commit table_version table_rows",
    instant="complete_until last_commit",
    integer="kafka_partition next_offset table_version table_rows",
    text="kafka_topic table_name",
)

# In schema `system`.
SYSTEM = {"completeness": COMPLETENESS}


def holds(kind: str, type_: pa.DataType) -> bool:
    """Whether every reader supports the type: signed integers, UTC microseconds, 64-bit floats; no views, no dictionaries."""
    return {
        DAY: pa.types.is_date32,
        INSTANT: lambda t: t == pa.timestamp("us", tz="UTC"),
        MEASURE: pa.types.is_float64,
        INTEGER: pa.types.is_signed_integer,
        TEXT: pa.types.is_string,
        BYTES: pa.types.is_binary,
    }[kind](type_)
