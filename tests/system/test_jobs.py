"""Runs of the daily aggregation: selected days, unchanged input, late lines."""

import json
import re
from datetime import datetime, timedelta

import pytest

from support import delta, oracle
from support.lake import DAILY, DAILY_TABLE, Lake
from support.weather_data import CITIES, PARIS, Export, Record, build, date, day_range, message, paris_midnight

DAYS = day_range(date(2026, 1, 15), 4)


def published(lake: Lake) -> dict:
    """The output of a run: the version of the table, and the files with their times and bytes."""
    files = [stored for stored in lake.place.walk("weather") if stored.path.endswith(".jsonl")]
    return {
        "version": delta.version(lake.place, DAILY_TABLE),
        "files": {stored: lake.place.read(stored.path) for stored in files},
    }


def days_published(lake: Lake) -> list[str]:
    paths = [stored.path for stored in lake.place.walk("weather") if stored.path.endswith("/aggregates.jsonl")]
    return sorted(path.split("/")[1].removeprefix("dt=") for path in paths)


def landed(lakes, kind: str, **variables: str) -> tuple[Lake, Export]:
    export = build(DAYS, CITIES[:2])
    lake = lakes.new(kind, **variables)
    lake.put(export.files)
    lake.land()
    return lake, export


@pytest.mark.parametrize(
    "arguments", [["--all"], ["--dt", "2026-01-15"], ["--from", "2026-01-15", "--to", "2026-01-18"]]
)
def test_second_run_on_unchanged_input_publishes_nothing(lakes, kind, arguments):
    lake = lakes.landed(kind)
    before = published(lake)
    lake.aggregate(*arguments)
    assert published(lake) == before


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["--all"], DAYS),
        (["--dt", "2026-01-16"], DAYS[1:2]),
        (["--from", "2026-01-16", "--to", "2026-01-17"], DAYS[1:3]),
        (["--from", "2026-01-18", "--to", "2026-01-31"], DAYS[3:]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_run_computes_the_selected_days(lakes, arguments, days):
    lake, export = landed(lakes, "local")
    lake.aggregate(*arguments)
    assert days_published(lake) == [str(day) for day in days]
    expected = oracle.daily_weather_by_city(record for record in export.records if record.day in days)
    oracle.compare_daily(lake.rows(DAILY_TABLE), expected)


@pytest.mark.parametrize(("only_today", "takes_all"), [(None, False), ("true", False), ("false", True)])
def test_legacy_variable_selects_today_or_all_days(lakes, only_today, takes_all):
    """Today is the day in Paris, also if the local time of the machine has another one."""
    for _ in range(2):  # repeated if midnight was in between
        today = datetime.now(PARIS).date()
        lake = lakes.new(
            "local", TZ="Pacific/Kiritimati", **({"MR_PROCESS_ONLY_TODAY": only_today} if only_today else {})
        )
        days = [today - timedelta(days=1), today]
        export = build(days, CITIES[:1])
        lake.put(export.files)
        lake.land()
        lake.isobar.ok("run", DAILY)
        if datetime.now(PARIS).date() == today:
            break
    assert days_published(lake) == [str(day) for day in (days if takes_all else days[1:])]


def test_late_line_changes_its_day_only(lakes, kind):
    lake, export = landed(lakes, kind)
    lake.aggregate()
    before = published(lake)
    export = late(lake, export, DAYS[1], 1_000_000)
    lake.aggregate()

    after = published(lake)
    touched = {stored.path for stored in before["files"].keys() ^ after["files"].keys()}
    assert touched == {lake.aggregates_path(DAYS[1])}
    assert after["version"] == before["version"] + 1
    changes = [a.get("add") or a.get("remove") for a in delta.actions(lake.place, DAILY_TABLE, after["version"])]
    assert {change["partitionValues"]["dt"] for change in changes if change} == {str(DAYS[1])}
    lake.must_hold(export)


def late(lake: Lake, export: Export, day: date, offset: int) -> Export:
    """Lands one more line of `day`, and returns the export with it."""
    at = paris_midnight(day) + 7_300
    record = Record(0, offset, at, message(CITIES[0], at))
    export = export.plus([record])
    lake.put({f"dt=2026-02-01/weather_late_{offset}.json": export.files[record.path]})
    lake.land()
    return export


def compact(lake: Lake) -> None:
    """Compacts the table as another engine does: other files with the same rows."""
    before = delta.live_files(lake.place, "weather")
    delta.table(lake.place, "weather").optimize.compact()
    assert delta.live_files(lake.place, "weather") != before


def test_run_after_compaction_publishes_nothing(lakes):
    lake, export = landed(lakes, "local")
    for offset, day in enumerate(DAYS[:2], 1_000_000):
        export = late(lake, export, day, offset)
    lake.aggregate()
    before = published(lake)
    compact(lake)
    lake.aggregate()
    assert published(lake) == before
    # Rows of another day do not make the compacted day stale, now and later.
    export = late(lake, export, DAYS[3], 2_000_000)
    lake.aggregate()
    after = published(lake)
    touched = {stored.path for stored in before["files"].keys() ^ after["files"].keys()}
    assert (touched, after["version"]) == ({lake.aggregates_path(DAYS[3])}, before["version"] + 1)
    lake.aggregate()
    assert published(lake) == after
    lake.must_hold(export)


def test_log_line_of_a_run_names_query_and_run(lakes):
    lake, _ = landed(lakes, "local")
    said = [json.loads(line) for line in lake.aggregate().stderr.splitlines()]
    [span] = [line["span"] for line in said if line["message"] == "published"]
    assert (span["name"], span["query"]) == ("run", DAILY)
    assert re.fullmatch(r"\d+-\d+", span["id"]), span


def test_change_before_a_compaction_is_noticed(lakes):
    lake, export = landed(lakes, "local")
    lake.aggregate()
    before = published(lake)
    export = late(lake, export, DAYS[1], 1_000_000)
    compact(lake)
    lake.aggregate()
    after = published(lake)
    touched = {stored.path for stored in before["files"].keys() ^ after["files"].keys()}
    assert touched == {lake.aggregates_path(DAYS[1])}
    lake.must_hold(export)


def test_compaction_without_its_log_entry_counts_as_a_change(lakes):
    """Without the log entry a change could be missed, so the day is computed again."""
    lake, export = landed(lakes, "local")
    lake.aggregate()
    version = delta.version(lake.place, DAILY_TABLE)
    export = late(lake, export, DAYS[1], 1_000_000)
    compact(lake)
    delta.table(lake.place, "weather").create_checkpoint()
    for stored in lake.place.walk("lake/weather/_delta_log"):
        if stored.path.endswith(".json"):
            (lake.place.root / stored.path).unlink()
    lake.aggregate()
    assert delta.version(lake.place, DAILY_TABLE) == version + 1
    lake.must_hold(export)


def test_published_file_is_complete_and_alone(lakes, kind):
    lake = lakes.landed(kind)
    strange = [stored.path for stored in lake.place.walk("weather") if not stored.path.endswith((".json", ".jsonl"))]
    assert strange == []


def test_cities_of_one_name_have_separate_rows(lakes):
    """The numeric id distinguishes cities: there is a London in Canada too."""
    export = build(DAYS[:1], [CITIES[2], CITIES[3]])
    lake = lakes.new("local")
    lake.land_and_aggregate(export.files)
    assert [row["city"] for row in lake.rows(DAILY_TABLE)] == ["London", "London"]
    lake.must_hold(export)


def test_run_of_a_day_without_rows_publishes_no_row(lakes):
    lake, _ = landed(lakes, "local")
    lake.aggregate("--dt", "2026-02-02")
    assert lake.isobar.scalar("SELECT count(*) AS n FROM weather WHERE dt = DATE '2026-02-02'") == 0
    assert "2026-02-02" not in days_published(lake) or lake.aggregates(date(2026, 2, 2)) == []


def test_published_output_does_not_depend_on_the_clock(lakes):
    """Two lakes that were filled at different times publish the same, except for the order of additions."""
    contents = []
    for _ in range(2):
        lake, _ = landed(lakes, "local")
        lake.aggregate()
        lines = [lake.place.read(lake.aggregates_path(day)).decode() for day in DAYS]
        contents.append([re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.9f}", text) for text in lines])
    assert contents[0] == contents[1]


def test_day_with_deleted_rows_is_removed_from_every_output(lakes):
    # In a local directory: on HDFS the process of the tests has no permission to write to the lake.
    lake, export = landed(lakes, "local")
    lake.aggregate()
    delta.table(lake.place, "weather").delete(f"dt = '{DAYS[1]}'")
    lake.aggregate()
    assert lake.aggregates(DAYS[1]) == []
    rest = oracle.daily_weather_by_city(record for record in export.records if record.day != DAYS[1])
    oracle.compare_daily(lake.rows(DAILY_TABLE), rest)
    before = published(lake)
    lake.aggregate()
    assert published(lake) == before


QUERY = """--! description = "a"
--! params      = {{ dt = "date" }}
--! partition   = "dt"
--! [output.table]
--! name        = "{table}"
SELECT dt, {column} AS x FROM weather WHERE dt = $dt GROUP BY dt
"""


def test_output_of_another_query_is_refused(lakes, tmp_path):
    """By `query check` and by `run`, which name both queries."""
    isobar = lakes.landed("local").isobar
    for name in ["one", "two"]:
        (tmp_path / f"{name}.sql").write_text(QUERY.format(table="hottest", column="max(temp)"))
    (tmp_path / "three.sql").write_text(QUERY.format(table="dead_letters", column="max(temp)"))
    both = ["one", "two", "hottest"]
    queries = ["--set", f"queries.path={tmp_path}"]
    isobar.refused(*queries, "query", "check", code=1, says=[*both, "dead_letters"])
    isobar.refused(*queries, "run", "two", "--all", code=1, says=both)
    isobar.refused(*queries, "run", "three", "--all", code=1, says=["dead_letters"])
    assert "hottest" not in isobar.ok("table", "list").stdout


def test_column_of_unsupported_type_is_refused_before_a_run(lakes, tmp_path):
    isobar = lakes.landed("local").isobar
    (tmp_path / "listed.sql").write_text(QUERY.format(table="listed", column="array_agg(temp)"))
    queries = ["--set", f"queries.path={tmp_path}"]
    for command in [("query", "check"), ("run", "listed", "--all")]:
        says = [r"column .*x.* of query .*listed.* is List", "array_to_string"]
        isobar.refused(*queries, *command, code=1, says=says)
    assert "listed" not in isobar.ok("table", "list").stdout


def test_table_function_needs_no_landed_table(lakes, tmp_path):
    lake = lakes.new("local")
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    lake.land()
    isobar = lake.isobar.having(ISOBAR__QUERIES__PATH=str(tmp_path))
    text = QUERY.format(table="counted", column="sum(n.value)")
    text = text.replace("FROM weather", "FROM weather CROSS JOIN generate_series(1, 3) n")
    (tmp_path / "counted.sql").write_text(text)
    isobar.ok("query", "check")
    isobar.ok("run", "counted", "--dt", "2026-01-15")
