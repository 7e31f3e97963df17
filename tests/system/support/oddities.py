"""Well-formed messages that look malformed: each must land, with absent optional fields as null."""

import json
from collections.abc import Callable


def _without(*path: str) -> Callable[[dict], None]:
    *parents, last = path

    def edit(value: dict) -> None:
        for step in parents:
            value = value[step]
        value.pop(last, None)

    return edit


def _with(section: str, changes: dict) -> Callable[[dict], None]:
    return lambda value: value[section].update(changes)


def _main(changes: dict) -> Callable[[dict], None]:
    return lambda value: value["weather"]["main"].update(changes)


def _aqi_with_a_point(value: dict) -> None:
    value["air_pollution"]["list"][0]["main"]["aqi"] = 4.0


def _dry_forecast(value: dict) -> None:
    value["forecast"] |= {"list": [], "cnt": 0}


def _legacy_rain(value: dict) -> None:
    value["weather"]["rain"] = {"1h": 0.5, "3h": 1.25}
    value["precipitations_info"] |= {"rain_1h": 0.5, "rain_3h": 1.25}


ODDITIES: dict[str, Callable[[dict], None]] = {
    "AQI written 4.0": _aqi_with_a_point,
    "a temperature without a point": _main({"temp": 7, "feels_like": 6}),
    "minus zero": _main({"temp": -0.0}),
    "exactly 60 degrees": _main({"temp": 60, "temp_max": 60}),
    "exactly 90 below": _main({"temp": -90.0, "temp_min": -90.0}),
    "no feels_like, as before 2020": _without("weather", "main", "feels_like"),
    "no visibility": _without("weather", "visibility"),
    "no gust": _without("weather", "wind", "gust"),
    "no wind direction": _without("weather", "wind", "deg"),
    "no sea level": _without("weather", "main", "sea_level"),
    "no country, at sea": _without("weather", "sys", "country"),
    "polar night": lambda value: value["weather"]["sys"].update({"sunrise": 0, "sunset": 0}),
    "an empty forecast": _dry_forecast,
    "no sun_info": _without("sun_info"),
    "sun_info is null": lambda value: value.update({"sun_info": None}),
    "rain of three hours": _legacy_rain,
    "a null optional field": _main({"grnd_level": None}),
    "a field of tomorrow's API": _with("weather", {"uv": {"index": [1, 2, {"deep": None}]}}),
    "an integer beyond 64 bits in an unread field": _with("weather", {"serial": 2**70}),
    "a string of 60 KiB": _with("weather", {"note": "a" * 60_000}),
    "letters beyond the basic plane": _with("weather", {"note": "\U0001f327\u00e9\u6771\u4eac\u0000\n"}),
    "nested 40 deep": _with("weather", {"extra": json.loads("[" * 40 + "]" * 40)}),
}
