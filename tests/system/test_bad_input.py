"""Mistakes of the user: each ends at once, with its exit code and a message with the remedy."""

import ctypes
import os
import shutil

import pytest

from support.binary import REPOSITORY
from support.lake import DAILY, Lake
from support.weather_data import CITIES, build, date

# Loaded before any fork: between fork and exec only a plain call of C is safe.
LIBC = ctypes.CDLL(None)
CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def lake(lakes) -> Lake:
    return lakes.landed("local")


USAGE = {
    "no command": ([], "usage"),
    "an unknown command": (["lnad"], "lnad"),
    "an unknown flag": (["run", DAILY, "--al"], "--al"),
    "a month too many": (["run", DAILY, "--dt", "2026-13-45"], "2026-13-45"),
    "a day that is not": (["run", DAILY, "--dt", "2026-02-30"], "2026-02-30"),
    "a word for a day": (["run", DAILY, "--dt", "yesterday"], "yesterday"),
    "a day and all days": (["run", DAILY, "--dt", "2026-01-15", "--all"], "--all"),
    "a beginning without an end": (["run", DAILY, "--from", "2026-01-15"], "--to"),
    "an end before the beginning": (["run", DAILY, "--from", "2026-01-17", "--to", "2026-01-15"], "2026-01-15"),
    "no query": (["run"], "usage"),
    "no source": (["land"], "--from"),
    "an unknown source": (["land", "--from", "carrier-pigeon"], "carrier-pigeon"),
    "an unknown format": (["sql", "--format", "papyrus", "-c", "SELECT 1"], "papyrus"),
    "an unknown shell": (["completions", "oyster"], "oyster"),
    "a statement and a file": (["sql", "-c", "SELECT 1", "-f", "x.sql"], "cannot be used with"),
}


@pytest.mark.parametrize(("arguments", "says"), USAGE.values(), ids=USAGE.keys())
def test_wrong_arguments_exit_with_2(lake, arguments, says):
    """The arguments alone decide: exit code 2, and the mistake is named."""
    outcome = lake.isobar.refused(*arguments, code=2, says=[says])
    assert outcome.stdout == ""


FAILED = {
    "an unknown query": (["run", "weather/daily_wether_by_city", "--all"], ["daily_wether_by_city", DAILY]),
    "a query outside its folder": (["run", "../../etc/passwd", "--all"], ["etc/passwd"]),
    "an unknown parameter": (["run", DAILY, "--all", "-p", "colour=blue"], ["colour"]),
    "an unknown table": (["table", "describe", "wether"], ["wether", "weather"]),
    "a missing SQL file": (["sql", "-f", "nowhere.sql"], ["nowhere.sql"]),
    "a missing path": (["land", "--from", "files", "/no/such/exports", "--once"], ["/no/such/exports"]),
    "a path of a strange scheme": (["land", "--from", "files", "s3://bucket/exports", "--once"], ["s3"]),
}


@pytest.mark.parametrize(("arguments", "says"), FAILED.values(), ids=FAILED.keys())
def test_failure_exits_with_1_and_names_the_remedy(lake, arguments, says):
    before = lake.place.walk()
    lake.isobar.refused(*arguments, code=1, says=says)
    assert lake.place.walk() == before


def test_empty_directory_is_named(lakes, kind):
    lake = lakes.new(kind)
    lake.place.make_directory("weather")
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    lake.isobar.refused(*land, code=1, says=["weather", "no .*file|empty"])
    assert lake.place.names("lake") == []


def test_query_of_missing_table_is_refused(lakes, kind):
    lakes.new(kind).isobar.refused("run", DAILY, "--all", code=1, says=["weather", "land"])


QUERY = """--! description = "How many rows a day has."
--! params      = { dt = "date" }
--! partition   = "dt"
--! [output.jsonl]
--! file        = "counted.jsonl"
SELECT
  dt,
  count(*) AS n
FROM weather
WHERE dt = $dt
GROUP BY dt
"""

BROKEN_QUERIES = {
    "a typing error in the SQL": (("FROM weather", "FORM weather"), [r"counted\.sql:9|line:? ?9"]),
    "an unknown column": (("WHERE dt", "WHERE day"), [r"counted\.sql:10|line:? ?10", "day"]),
    "an unknown table": (("FROM weather", "FROM whether"), ["whether"]),
    "an unknown header key": (("description", "descripton"), ["descripton", "description"]),
    "a header that is no TOML": (('{ dt = "date" }', "{ dt = "), [r"counted\.sql:[23]"]),
    "a parameter of a strange type": (('"date"', '"moon"'), ["moon"]),
    "a parameter that is not declared": (("$dt", "$day"), ["day"]),
    "a parameter that is not used": (("= $dt", "= dt"), ["dt"]),
    "a partition that is no column": (('partition   = "dt"', 'partition   = "day"'), ["day"]),
    "an output into a parent folder": (('"counted.jsonl"', '"../counted.jsonl"'), [r"\.\./counted"]),
    "no statement": ((QUERY[QUERY.index("SELECT") :], ""), ["counted"]),
    "two statements": (("GROUP BY dt\n", "GROUP BY dt; SELECT 1\n"), ["counted"]),
    "a write": (("SELECT\n", "CREATE TABLE x AS SELECT\n"), ["counted"]),
}


def with_query(lake: Lake, folder, text: str):
    """The queries of the repository and `weather/counted`."""
    queries = folder / "queries"
    shutil.copytree(REPOSITORY / "queries", queries)
    (queries / "weather" / "counted.sql").write_text(text)
    return lake.isobar.having(ISOBAR__QUERIES__PATH=str(queries))


def test_valid_query_passes_the_check(lake, tmp_path):
    isobar = with_query(lake, tmp_path, QUERY)
    isobar.ok("query", "check")
    assert "weather/counted" in isobar.ok("query", "list").stdout


@pytest.mark.parametrize(("change", "says"), BROKEN_QUERIES.values(), ids=BROKEN_QUERIES.keys())
def test_invalid_query_is_refused_with_its_position(lake, tmp_path, change, says):
    assert change[0] in QUERY
    isobar = with_query(lake, tmp_path, QUERY.replace(*change))
    isobar.refused("query", "check", code=1, says=["counted", *says])


BROKEN_TABLES = {
    "an unknown field in the SELECT": (("w['id'] AS city_id", "w['idd'] AS city_id"), ["idd"]),
    "an unknown field in a rule": (("['main']['aqi'] IS NULL", "['main']['aqqi'] IS NULL"), ["no_aqi", "aqqi"]),
    "a rule that is no condition": (("['main']['aqi'] IS NULL", "['main']['aqi']"), ["no_aqi", "condition"]),
    "a moment that is no field": (('"weather.dt"', '"weather.when"'), ["observed_at", r"weather\.when"]),
}


@pytest.mark.parametrize(("change", "says"), BROKEN_TABLES.values(), ids=BROKEN_TABLES.keys())
def test_invalid_table_file_is_named_before_the_landing(lake, tmp_path, change, says):
    isobar = with_query(lake, tmp_path, QUERY)
    assert "tables/weather\n" in isobar.ok("query", "check").stdout
    table = tmp_path / "queries" / "tables" / "weather.sql"
    text = table.read_text()
    assert change[0] in text
    table.write_text(text.replace(*change))
    for command in [("query", "check"), ("check",)]:
        isobar.refused(*command, code=1, says=[str(table), *says])


def test_missing_queries_directory_is_named(lake):
    isobar = lake.isobar.having(ISOBAR__QUERIES__PATH="/no/such/queries")
    isobar.refused("query", "list", code=1, says=["/no/such/queries", "ISOBAR__QUERIES__PATH|queries.path"])


def without_powers() -> None:
    """Drops the capability of root to write anywhere. Without effect for an ordinary user."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        LIBC.prctl(CAPBSET_DROP, capability, 0, 0, 0)


def test_lake_without_write_permission_is_named(lakes):
    lake = lakes.new("local")
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    lake.place.make_directory("lake")
    os.chmod(lake.place.root / "lake", 0o555)
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    lake.isobar.refused(*land, code=1, says=["permission denied", "lake"], before_exec=without_powers)
    assert lake.place.names("lake") == []


def test_files_without_read_permission_are_named(lakes):
    lake = lakes.new("local")
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake.put(export.files)
    path = sorted(export.files)[0]
    os.chmod(lake.place.root / "weather" / path, 0)
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    lake.isobar.refused(*land, code=1, says=["permission denied", path.split("/")[-1]], before_exec=without_powers)


def test_lake_that_is_a_file_is_named(lakes):
    lake = lakes.new("local")
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    lake.place.write("lake", b"no directory")
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    lake.isobar.refused(*land, code=1, says=["lake", "directory"])
