"""Every kind of malformed export line: each takes the envelope of a well-formed line, and returns the line of the file.

A landing refuses each of them once into `dead_letters` and lands everything around it.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass

TEMP = "value.weather.main.temp"
# A field that no table reads: an error in it makes the message malformed too.
UNREAD = "value.weather.base"
ERROR_401 = {"cod": 401, "message": "Invalid API key. Please see https://openweathermap.org/faq#error401"}
ERROR_404 = {"cod": "404", "message": "city not found"}
ERROR_429 = {"cod": 429, "message": "Your account is temporary blocked due to exceeding of requests limitation"}
ERROR_500 = {"cod": "500", "message": "Internal error: 500001"}
DAY_S = 86_400
NOON_1999 = 946_638_000  # 1999-12-31 12:00:00 in Paris
NOON_2126 = 4_922_953_200  # 2126-01-01 12:00:00 in Paris


@dataclass(frozen=True)
class Damaged:
    raw: bytes
    # Whether the line still has the identity of the message.
    identified: bool


Damage = Callable[[dict], Damaged]


@dataclass(frozen=True)
class Text:
    """Damages the bytes of the whole text: the line, or the message alone for sources without lines."""

    edit: Callable[[bytes], bytes]

    def __call__(self, envelope: dict) -> Damaged:
        return Damaged(self.edit(_encode(envelope)), identified=False)


def literal(path: str, text: str | bytes) -> Damage:
    """Replaces the value at `path` by `text`, which need not be JSON."""
    raw = text.encode() if isinstance(text, str) else text

    def damage(envelope: dict) -> Damaged:
        marked = _encode(_edited(envelope, {path: "\u0001"}))
        return Damaged(marked.replace(json.dumps("\u0001").encode(), raw), identified=False)

    return damage


def put(changes: dict) -> Damage:
    """Replaces values at their paths, or applies a function to them. The line stays JSON."""
    return lambda envelope: Damaged(
        _encode(_edited(envelope, changes)), identified=all(path.startswith("value") for path in changes)
    )


def drop(path: str) -> Damage:
    """Removes a field."""
    *parents, last = path.split(".")

    def damage(envelope: dict) -> Damaged:
        changed = copy.deepcopy(envelope)
        del _at(changed, parents)[last]
        return Damaged(_encode(changed), identified=path.startswith("value"))

    return damage


def _encode(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _at(root, steps: list[str]):
    for step in steps:
        root = root[int(step)] if isinstance(root, list) else root[step]
    return root


def _edited(envelope: dict, changes: dict) -> dict:
    changed = copy.deepcopy(envelope)
    for path, value in changes.items():
        *parents, last = path.split(".")
        parent = _at(changed, parents)
        step = int(last) if isinstance(parent, list) else last
        parent[step] = value(parent[step]) if callable(value) else value
    return changed


NOT_JSON: dict[str, Damage] = {
    "cut short": Text(lambda text: text[: len(text) // 2]),
    "the gateway's HTML": Text(lambda _: b"<html><head><title>502 Bad Gateway</title></head></html>"),
    "binary bytes": Text(lambda _: b"\x00\x93NUMPY\x01\x00\xfe\xff\x80"),
    "an empty line": Text(lambda _: b""),
    "a line of spaces": Text(lambda _: b"  \t "),
    "a byte-order mark": Text(lambda text: b"\xef\xbb\xbf" + text),
    "bytes after the end": Text(lambda text: text + b" xyz"),
    "a comma after the end": Text(lambda text: text + b","),
    "two values in one line": Text(lambda text: text + text),
    "single quotes": Text(lambda text: repr(json.loads(text)).encode()),
    "a comma before the brace": Text(lambda text: text[:-1] + b",}"),
    "a comment": Text(lambda text: text + b" // the last one"),
    "invalid UTF-8 in a name": literal("value.weather.name", b'"Saint-\xc9tienne"'),
    "invalid UTF-8 in an unread field": literal(UNREAD, b'"sta\xfftions"'),
    "UTF-8 of a surrogate": literal(UNREAD, b'"\xed\xa0\xbd"'),
    "overlong UTF-8": literal(UNREAD, b'"\xc0\xaf"'),
    "a lone high surrogate": literal("value.weather.name", r'"Par\ud83dis"'),
    "a lone low surrogate in an unread field": literal(UNREAD, r'"\ude00"'),
    "a raw tab in a string": literal(UNREAD, '"sta\ttions"'),
    "an unknown escape": literal(UNREAD, r'"sta\xtions"'),
    "NaN": literal(TEMP, "NaN"),
    "NaN in an unread field": literal(UNREAD, "NaN"),
    "Infinity": literal(TEMP, "Infinity"),
    "-Infinity in an unread field": literal(UNREAD, "-Infinity"),
    "a leading zero": literal(TEMP, "07.5"),
    "a leading plus": literal(TEMP, "+7.5"),
    "no digit before the point": literal(TEMP, ".5"),
    "no digit after the point": literal(TEMP, "7."),
    "a hexadecimal number": literal(UNREAD, "0x1F"),
    "a bare word": literal(UNREAD, "None"),
}

JSON_BUT_REFUSED: dict[str, Damage] = {
    "a key twice": literal(TEMP, '7.5, "temp": 7.5'),
    "a key twice, once escaped": literal(TEMP, r'7.5, "\u0074emp": 7.5'),
    "a key twice in an unread field": literal(UNREAD, '{"deep": [{"a": 1, "a": 2}]}'),
    "arrays nested over 64": literal(UNREAD, "[" * 100 + "]" * 100),
    "objects nested over 64": literal(UNREAD, '{"a":' * 100 + "1" + "}" * 100),
    "arrays nested very deep": literal(UNREAD, "[" * 20_000 + "]" * 20_000),
    "a number too large": literal(TEMP, "1e400"),
    "a number too large in an unread field": literal(UNREAD, "-1e400"),
    "a number too small": literal(TEMP, "1e-400"),
    "a number of 400 digits in an unread field": literal(UNREAD, "9" * 400),
    "a string over 64 KiB": literal("value.weather.name", f'"{"A" * 70_000}"'),
    "a string over 64 KiB of two-byte letters": literal("value.weather.name", f'"{"Ж" * 40_000}"'),
    "a string over 64 KiB in an unread field": literal(UNREAD, f'"{"A" * 70_000}"'),
}

NO_MESSAGE: dict[str, Damage] = {
    "value is null": put({"value": None}),
    "value is a number": put({"value": 42}),
    "value is true": put({"value": True}),
    "value is a text": put({"value": '{"weather": {}}'}),
    "value is an array": put({"value": [1, 2, 3]}),
    "value is an empty object": put({"value": {}}),
    "value is the API's 401": put({"value": ERROR_401}),
    "value is the API's 404": put({"value": ERROR_404}),
    "value is the API's 429": put({"value": ERROR_429}),
    "value is the API's 500": put({"value": ERROR_500}),
    "no value": drop("value"),
}

SECTIONS: dict[str, Damage] = {
    "no weather": drop("value.weather"),
    "weather is null": put({"value.weather": None}),
    "weather is an error body": put({"value.weather": ERROR_404}),
    "weather is an array": put({"value.weather": []}),
    "no air_pollution": drop("value.air_pollution"),
    "air_pollution is null": put({"value.air_pollution": None}),
    "air_pollution is an error body": put({"value.air_pollution": ERROR_401}),
    "air_pollution is a text": put({"value.air_pollution": "good"}),
    "no precipitations_info": drop("value.precipitations_info"),
    "precipitations_info is null": put({"value.precipitations_info": None}),
    "precipitations_info is an error body": put({"value.precipitations_info": ERROR_500}),
    "precipitations_info is a number": put({"value.precipitations_info": 0.3}),
    "no forecast": drop("value.forecast"),
    "forecast is null": put({"value.forecast": None}),
    "forecast is an error body": put({"value.forecast": ERROR_429}),
    "forecast is an array": put({"value.forecast": []}),
}

WRONG_TYPE: dict[str, Damage] = {
    "temperature is a text": put({TEMP: "7.5"}),
    "temperature is an object": put({TEMP: {"day": 7.5}}),
    "temperature is true": put({TEMP: True}),
    "main is an array": put({"value.weather.main": [{"temp": 7.5}]}),
    "conditions are an object": put({"value.weather.weather": {"id": 800}}),
    "city id is a text": put({"value.weather.id": "2988507"}),
    "city id is a fraction": put({"value.weather.id": 2988507.5}),
    "city name is a number": put({"value.weather.name": 75000}),
    "dt is a text": put({"value.weather.dt": "2026-01-15T00:00:00+00:00"}),
    "humidity is a text": put({"value.weather.main.humidity": "80"}),
    "wind is an array": put({"value.weather.wind": [3.1, 200]}),
    "AQI is a text": put({"value.air_pollution.list.0.main.aqi": "3"}),
    "the air's list is an object": put({"value.air_pollution.list": {}}),
    "rain is an object": put({"value.precipitations_info.rain_1h": {"1h": 0.3}}),
    "the forecast's list is an object": put({"value.forecast.list": {"0": {}}}),
}

NECESSARY: dict[str, Damage] = {
    "no city id": drop("value.weather.id"),
    "city id is null": put({"value.weather.id": None}),
    "no city name": drop("value.weather.name"),
    "city name is null": put({"value.weather.name": None}),
    "no dt": drop("value.weather.dt"),
    "dt is null": put({"value.weather.dt": None}),
    "no temperature": drop(TEMP),
    "temperature is null": put({TEMP: None}),
    "no main": drop("value.weather.main"),
    "no AQI": drop("value.air_pollution.list.0.main.aqi"),
    "AQI is null": put({"value.air_pollution.list.0.main.aqi": None}),
    "an empty list of air": put({"value.air_pollution.list": []}),
}

IMPLAUSIBLE: dict[str, Damage] = {
    "Kelvin": put({TEMP: 285.3}),
    "colder than 90 below": put({TEMP: -90.5}),
    "hotter than 60": put({TEMP: 60.5}),
    "observed three days before": put({"value.weather.dt": lambda dt: dt - 3 * DAY_S}),
    "observed three days after": put({"value.weather.dt": lambda dt: dt + 3 * DAY_S}),
    "observed in 1970": put({"value.weather.dt": 0}),
    "observed in milliseconds": put({"value.weather.dt": lambda dt: dt * 1000}),
    "observed before the calendar": put({"value.weather.dt": -62_135_596_801}),
    "observed beyond 64 bits": put({"value.weather.dt": 10**30}),
    "event time before 2000": put({"event_time": "1999-12-31 12:00:00", "value.weather.dt": NOON_1999 - 60}),
    "event time a century ahead": put({"event_time": "2126-01-01 12:00:00", "value.weather.dt": NOON_2126 - 60}),
}

ENVELOPE: dict[str, Damage] = {
    "a key twice in the envelope": Text(lambda text: text[:-1] + b', "kafka_offset": 7}'),
    "event time is a word": put({"event_time": "yesterday"}),
    "event time of a thirteenth month": put({"event_time": "2026-13-45 00:00:00"}),
    "event time on 30 February": put({"event_time": "2026-02-30 12:00:00"}),
    "event time at 25 o'clock": put({"event_time": "2026-01-15 25:00:00"}),
    "event time is empty": put({"event_time": ""}),
    "event time is a number": put({"event_time": 1_768_431_093}),
    "event time is null": put({"event_time": None}),
    "no event time": drop("event_time"),
    "no partition": drop("kafka_partition"),
    "no offset": drop("kafka_offset"),
    "offset is null": put({"kafka_offset": None}),
    "offset is a text": put({"kafka_offset": "12"}),
    "offset is negative": put({"kafka_offset": -1}),
    "offset is a fraction": put({"kafka_offset": 12.5}),
    "partition is negative": put({"kafka_partition": -1}),
    "the line is an array": Text(lambda text: b"[" + text + b"]"),
    "the line is null": Text(lambda _: b"null"),
}

KINDS: dict[str, Damage] = (
    NOT_JSON | JSON_BUT_REFUSED | NO_MESSAGE | SECTIONS | WRONG_TYPE | NECESSARY | IMPLAUSIBLE | ENVELOPE
)

# Kinds that are possible for every source.
OF_MESSAGES = [kind for kind in KINDS if kind not in ENVELOPE]

# The reason for each kind, by hand from docs/sql.md.
REASONS: dict[str, str] = {
    "cut short": "invalid_json",
    "the gateway's HTML": "invalid_json",
    "binary bytes": "invalid_utf8",
    "an empty line": "empty",
    "a line of spaces": "empty",
    "a byte-order mark": "byte_order_mark",
    "bytes after the end": "trailing_bytes",
    "a comma after the end": "trailing_bytes",
    "two values in one line": "trailing_bytes",
    "single quotes": "invalid_json",
    "a comma before the brace": "invalid_json",
    "a comment": "trailing_bytes",
    "invalid UTF-8 in a name": "invalid_utf8",
    "invalid UTF-8 in an unread field": "invalid_utf8",
    "UTF-8 of a surrogate": "invalid_utf8",
    "overlong UTF-8": "invalid_utf8",
    "a lone high surrogate": "lone_surrogate",
    "a lone low surrogate in an unread field": "lone_surrogate",
    "a raw tab in a string": "invalid_json",
    "an unknown escape": "invalid_json",
    "NaN": "invalid_json",
    "NaN in an unread field": "invalid_json",
    "Infinity": "invalid_json",
    "-Infinity in an unread field": "invalid_json",
    "a leading zero": "invalid_json",
    "a leading plus": "invalid_json",
    "no digit before the point": "invalid_json",
    "no digit after the point": "invalid_json",
    "a hexadecimal number": "invalid_json",
    "a bare word": "invalid_json",
    "a key twice": "duplicate_key",
    "a key twice, once escaped": "duplicate_key",
    "a key twice in an unread field": "duplicate_key",
    "arrays nested over 64": "too_deep",
    "objects nested over 64": "too_deep",
    "arrays nested very deep": "too_deep",
    "a number too large": "number_out_of_range",
    "a number too large in an unread field": "number_out_of_range",
    "a number too small": "number_out_of_range",
    "a number of 400 digits in an unread field": "number_out_of_range",
    "a string over 64 KiB": "string_too_long",
    "a string over 64 KiB of two-byte letters": "string_too_long",
    "a string over 64 KiB in an unread field": "string_too_long",
    "value is null": "null_field",
    "value is a number": "wrong_type",
    "value is true": "wrong_type",
    "value is a text": "wrong_type",
    "value is an array": "wrong_type",
    "value is an empty object": "missing_field",
    "value is the API's 401": "missing_field",
    "value is the API's 404": "missing_field",
    "value is the API's 429": "missing_field",
    "value is the API's 500": "missing_field",
    "no value": "missing_field",
    "no weather": "missing_field",
    "weather is null": "null_field",
    "weather is an error body": "missing_field",
    "weather is an array": "wrong_type",
    "no air_pollution": "missing_field",
    "air_pollution is null": "null_field",
    "air_pollution is an error body": "missing_field",
    "air_pollution is a text": "wrong_type",
    "no precipitations_info": "missing_field",
    "precipitations_info is null": "null_field",
    "precipitations_info is an error body": "error_body",
    "precipitations_info is a number": "wrong_type",
    "no forecast": "missing_field",
    "forecast is null": "null_field",
    "forecast is an error body": "missing_field",
    "forecast is an array": "wrong_type",
    "temperature is a text": "wrong_type",
    "temperature is an object": "wrong_type",
    "temperature is true": "wrong_type",
    "main is an array": "wrong_type",
    "conditions are an object": "wrong_type",
    "city id is a text": "wrong_type",
    "city id is a fraction": "wrong_type",
    "city name is a number": "wrong_type",
    "dt is a text": "wrong_type",
    "humidity is a text": "wrong_type",
    "wind is an array": "wrong_type",
    "AQI is a text": "wrong_type",
    "the air's list is an object": "wrong_type",
    "rain is an object": "wrong_type",
    "the forecast's list is an object": "wrong_type",
    "no city id": "missing_field",
    "city id is null": "null_field",
    "no city name": "missing_field",
    "city name is null": "null_field",
    "no dt": "missing_field",
    "dt is null": "null_field",
    "no temperature": "missing_field",
    "temperature is null": "null_field",
    "no main": "missing_field",
    "no AQI": "missing_field",
    "AQI is null": "null_field",
    "an empty list of air": "no_aqi",
    "Kelvin": "implausible_temperature",
    "colder than 90 below": "implausible_temperature",
    "hotter than 60": "implausible_temperature",
    "observed three days before": "implausible_observed_at",
    "observed three days after": "implausible_observed_at",
    "observed in 1970": "implausible_observed_at",
    "observed in milliseconds": "implausible_observed_at",
    "observed before the calendar": "implausible_observed_at",
    "observed beyond 64 bits": "wrong_type",
    "event time before 2000": "implausible_event_time",
    "event time a century ahead": "implausible_event_time",
    "a key twice in the envelope": "duplicate_key",
    "event time is a word": "unreadable_event_time",
    "event time of a thirteenth month": "unreadable_event_time",
    "event time on 30 February": "unreadable_event_time",
    "event time at 25 o'clock": "unreadable_event_time",
    "event time is empty": "unreadable_event_time",
    "event time is a number": "wrong_type",
    "event time is null": "null_field",
    "no event time": "missing_field",
    "no partition": "missing_field",
    "no offset": "missing_field",
    "offset is null": "null_field",
    "offset is a text": "wrong_type",
    "offset is negative": "invalid_identity",
    "offset is a fraction": "wrong_type",
    "partition is negative": "invalid_identity",
    "the line is an array": "not_an_object",
    "the line is null": "not_an_object",
}
