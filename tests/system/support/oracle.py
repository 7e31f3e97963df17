"""The oracle: the expected rows of the tables, in plain Python from the records of `weather_data`, without isobar."""

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone

from support.weather_data import BadLine, Record

# Columns of `daily_weather_by_city` by how they are compared: `rain_total` and `snow_total` are not compared here.
EXACT = ["city_id", "city", "country", "observations"]
WITHIN_A_BILLIONTH = [
    "temp_avg", "temp_min", "temp_max", "rain_1h_sum", "rain_3h_sum", "snow_1h_sum", "snow_3h_sum", "aqi_avg",
]  # fmt: skip

Daily = dict[tuple[str, str], dict]


def daily_weather_by_city(records: Iterable[Record], day: date | None = None) -> Daily:
    """The expected rows by (dt, place_id); `day` keeps one day."""
    groups = defaultdict(list)
    for record in records:
        if day is None or record.day == day:
            groups[record.day.isoformat(), _place_id(record.value["weather"])].append(record.value)
    return {key: _aggregate(values) for key, values in groups.items()}


def _place_id(weather: dict) -> str:
    """The id of the city, or the coordinates of a point without id."""
    if weather["id"] != 0:
        return str(weather["id"])
    # Zero has no sign.
    lat, lon = (round(weather["coord"][name], 4) + 0.0 for name in ["lat", "lon"])
    return f"{lat:.4f},{lon:.4f}"


def _aggregate(values: list[dict]) -> dict:
    temps = [value["weather"]["main"]["temp"] for value in values]
    row = {
        "city_id": values[0]["weather"]["id"],
        "city": values[0]["weather"]["name"],
        "country": next((c for v in values if (c := v["weather"]["sys"].get("country"))), None),
        "observations": len(values),
        "temp_avg": math.fsum(temps) / len(temps),
        "temp_min": float(min(temps)),
        "temp_max": float(max(temps)),
        "aqi_avg": math.fsum(v["air_pollution"]["list"][0]["main"]["aqi"] for v in values) / len(values),
    }
    for amount in ["rain_1h", "rain_3h", "snow_1h", "snow_3h"]:
        row[f"{amount}_sum"] = math.fsum(value["precipitations_info"][amount] for value in values)
    return row


def compare_daily(rows: Iterable[dict], expected: Daily) -> None:
    """Fails with all differences. `rows` are dictionaries by column; `dt` is a date or its text."""
    rows = list(rows)
    found = {(str(row["dt"]), row["place_id"]): row for row in rows}
    assert len(found) == len(rows), "a (dt, place_id) stands twice"
    differences = [f"missing {key}" for key in sorted(expected.keys() - found.keys())]
    differences += [f"too many {key}" for key in sorted(found.keys() - expected.keys())]
    for key in sorted(expected.keys() & found.keys()):
        got, want = found[key], expected[key]
        differences += [f"{key} {c}: {got[c]!r}, not {want[c]!r}" for c in EXACT if got[c] != want[c]]
        differences += [
            f"{key} {c}: {got[c]!r}, not {want[c]!r}" for c in WITHIN_A_BILLIONTH if not _close(got[c], want[c])
        ]
    assert not differences, f"{len(differences)} differences: " + "; ".join(differences[:20])


def _close(got: float | None, want: float) -> bool:
    return got is not None and math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-12)


def identities(records: Iterable[Record]) -> list[tuple[int, int]]:
    return sorted(record.identity for record in records)


def observation(record: Record) -> dict:
    """The row of `weather` for a record, in selected columns that cover every kind of field."""
    weather, air = record.value["weather"], record.value["air_pollution"]["list"][0]
    return {
        "dt": record.day,
        "event_time": _instant(record.event_at),
        "observed_at": _instant(weather["dt"]),
        "city_id": weather["id"],
        "city": weather["name"],
        "country": weather["sys"].get("country"),
        "utc_offset_s": weather["timezone"],
        "temp": float(weather["main"]["temp"]),
        "feels_like": weather["main"].get("feels_like"),
        "sea_level": weather["main"].get("sea_level"),
        "grnd_level": weather["main"].get("grnd_level"),
        "visibility": weather.get("visibility"),
        "wind_deg": weather["wind"].get("deg"),
        "wind_gust": weather["wind"].get("gust"),
        "condition_id": weather["weather"][0]["id"],
        # OpenWeather writes 0 in polar day and polar night.
        "sunrise": _instant(weather["sys"]["sunrise"]) if weather["sys"]["sunrise"] else None,
        "aqi": air["main"]["aqi"],
        "pm2_5": air["components"]["pm2_5"],
    }


def compare_observations(rows: Iterable[dict], records: Iterable[Record]) -> None:
    """`rows` are those of `weather`, by column."""
    rows = list(rows)
    found = {(row["kafka_partition"], row["kafka_offset"]): row for row in rows}
    want = {record.identity: observation(record) for record in records}
    assert len(rows) == len(found), f"{len(rows) - len(found)} rows stand twice"
    assert found.keys() == want.keys(), (
        f"missing {sorted(want.keys() - found.keys())[:10]}, too many {sorted(found.keys() - want.keys())[:10]}"
    )
    differences = [
        f"{identity} {column}: {found[identity][column]!r}, not {value!r}"
        for identity, columns in want.items()
        for column, value in columns.items()
        if found[identity][column] != value
    ]
    assert not differences, f"{len(differences)} differences: " + "; ".join(differences[:20])


def compare_forecasts(rows: Iterable[dict], records: Iterable[Record]) -> None:
    """`rows` are those of `weather_forecast`, by column."""
    found = sorted(
        (row["kafka_partition"], row["kafka_offset"], row["valid_at"], row["temp"], row["pop"], row["city_id"])
        for row in rows
    )
    want = sorted(
        (*record.identity, _instant(entry["dt"]), entry["main"]["temp"], entry["pop"], record.value["weather"]["id"])
        for record in records
        for entry in record.value["forecast"]["list"]
    )
    assert len(found) == len(want)
    differing = [(got, expected) for got, expected in zip(found, want, strict=True) if got != expected]
    assert not differing, f"{len(differing)} differences: {differing[:5]}"


def compare_dead_letters(rows: Iterable[dict], bad: Iterable[BadLine]) -> None:
    """Asserts one dead letter for each malformed line, by path and line number, with its identity, and no other."""
    rows = list(rows)
    want = {(_two_last(line.path), line.line): line for line in bad}
    found = {(_two_last(row["path"]), row["line"]): row for row in rows}
    missing = [(place, want[place].kind) for place in sorted(want.keys() - found.keys())]
    too_many = [(place, found[place]["reason"], found[place]["detail"]) for place in sorted(found.keys() - want.keys())]
    assert not missing and not too_many, f"not refused: {missing[:20]}; refused though valid: {too_many[:20]}"
    assert len(rows) == len(found), f"{len(rows) - len(found)} lines stand twice"
    for place, line in want.items():
        row = found[place]
        assert row["reason"], f"{line.kind}: no reason"
        assert row["received_at"] is not None
        if line.identity:
            assert (row["kafka_partition"], row["kafka_offset"]) == line.identity, line.kind


def _two_last(path: str) -> str:
    """`dt=…/weather_….json`, from any address of the directory."""
    return "/".join(path.split("/")[-2:])


def _instant(epoch_s: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=epoch_s)
