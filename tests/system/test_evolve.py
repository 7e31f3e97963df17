"""A declaration gains a column: landed files do not change, and every reader reads the whole table."""

import shutil
from datetime import date

import duckdb
import pytest

from support import delta, oracle
from support.binary import REPOSITORY, Isobar
from support.lake import DAILY, DAILY_TABLE, Lake
from support.weather_data import CITIES, build
from support.web import eventually

# `base` is a text of OpenWeather that no table has.
BASE = ("--! visibility  =", '--! base        = "text"\n--! visibility  ='), (" AS dt,\n", " AS dt,\n    w['base'] AS base,\n")


@pytest.fixture
def declared(tmp_path):
    """The binary with a changed query file of the repository."""

    def changed(lake: Lake, *changes: tuple[str, str], file: str = "tables/weather.sql") -> Isobar:
        queries = tmp_path / f"queries-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(REPOSITORY / "queries", queries)
        text = (queries / file).read_text()
        for before, after in changes:
            assert before in text, before
            text = text.replace(before, after, 1)
        (queries / file).write_text(text)
        return lake.isobar.having(ISOBAR__QUERIES__PATH=str(queries))

    return changed


def day(number: int):
    return build([date(2026, 1, number)], CITIES[:2], forecasts=1, first_offset=number * 1000)


def test_added_column_is_null_in_older_rows_for_every_reader(lakes, kind, declared):
    lake = lakes.new(kind)
    first, second = day(15), day(16)
    lake.put(first.files)
    lake.land()
    files = {path: lake.place.read(path) for path in delta.live_files(lake.place, "weather")}
    newer = declared(lake, *BASE)
    lake.put(second.files)
    newer.land(lake.place.export_url)
    records = first.records + second.records
    lake.must_have_landed(records, [])
    expected = {record.identity: "stations" if record in second.records else None for record in records}

    rows = lake.rows("weather", ["kafka_partition", "kafka_offset", "base"])
    assert {(row["kafka_partition"], row["kafka_offset"]): row["base"] for row in rows} == expected
    assert delta.table(lake.place, "weather").schema().fields[-1].name == "base", "behind those that were there"
    weather = delta.table(lake.place, "weather").to_pyarrow_table()  # noqa: F841, DuckDB finds it by its name
    found = duckdb.sql("SELECT kafka_partition, kafka_offset, base FROM weather").fetchall()
    assert {(partition, offset): base for partition, offset, base in found} == expected
    found = lake.isobar.query("SELECT kafka_partition, kafka_offset, base FROM weather")
    assert {(row["kafka_partition"], row["kafka_offset"]): row["base"] for row in found} == expected
    for condition, count in [("base = 'stations'", len(second.records)), ("base IS NULL", len(first.records))]:
        assert lake.isobar.scalar(f"SELECT count(*) AS n FROM weather WHERE {condition}") == count, condition
    assert lake.isobar.scalar("SELECT count(base) AS n FROM weather") == len(second.records)

    assert {path: lake.place.read(path) for path in files} == files, "older files were rewritten"
    version = delta.version(lake.place, "weather")
    newer.land(lake.place.export_url)
    assert delta.version(lake.place, "weather") == version
    # The previous declaration lacks a column now.
    lake.put(day(17).files)
    lake.isobar.refused(
        "land", "--from", "files", lake.place.export_url, "--once", code=1, says=["base", "loses no column"]
    )


def test_column_cannot_change_its_type(lakes, declared):
    lake = lakes.new("local")
    lake.put(day(15).files)
    lake.land()
    files = lake.place.walk("lake")
    other = declared(lake, ("w['id'] AS city_id", "CAST(w['id'] AS DOUBLE) AS city_id"))
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    other.refused(*land, code=1, says=["city_id", "Int64", "Float64", "keeps its type"])
    assert lake.place.walk("lake") == files


def test_landing_by_the_previous_declaration_stops(lakes, declared):
    """Its rows would silently lack the column for ever."""
    lake = lakes.new("local", ISOBAR__LAND__INTERVAL="100ms")
    first, second, third = day(15), day(16), day(17)
    lake.put(first.files)
    with lake.isobar.start("land", "--from", "files", lake.place.export_url) as older:
        eventually(lambda: delta.versions_seen(lake.place, "weather") > 1, "a commit", within_s=120)
        newer = declared(lake, *BASE)
        newer.land(lake.place.export_url)
        lake.put(second.files)
        assert older.wait(timeout=120) == 1
        assert "newer declaration" in older.said() or "loses no column" in older.said(), older.said()
    lake.put(third.files)
    newer.land(lake.place.export_url)
    records = first.records + second.records + third.records
    lake.must_have_landed(records, [])
    rows = lake.rows("weather", ["dt", "base"])
    assert {row["dt"] for row in rows if row["base"] is None} == {date(2026, 1, 15)}


def test_output_table_of_a_query_gains_a_column(lakes, declared):
    lake = lakes.new("local")
    export = build([date(2026, 1, 15), date(2026, 1, 16)], CITIES[:2])
    lake.land_and_aggregate(export.files)
    wider = declared(lake, ("AS aqi_avg", "AS aqi_avg,\n    avg(humidity) AS humidity_avg"), file=f"{DAILY}.sql")
    wider.ok("run", DAILY, "--dt", "2026-01-16")
    expected = oracle.daily_weather_by_city(export.records)
    columns = delta.table(lake.place, DAILY_TABLE).schema().fields
    assert columns[-1].name == "humidity_avg"
    rows = lake.rows(DAILY_TABLE)
    oracle.compare_daily([{k: v for k, v in row.items() if k != "humidity_avg"} for row in rows], expected)
    assert {(row["dt"], row["humidity_avg"] is None) for row in rows} == {
        (date(2026, 1, 15), True),
        (date(2026, 1, 16), False),
    }
