"""Export files → tables → daily aggregates: rows and aggregates match the oracle, through every client."""

import json
import os
from pathlib import Path

import pytest

from support import delta, faults
from support.fixtures import LONG, everything
from support.web import eventually
from support.weather_data import CITIES, Export, build, date, day_range, export_line

TABLES = ["weather", "weather_forecast", "dead_letters"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_tables_and_aggregates_match_the_oracle(lakes, kind, zone, figures):
    export = everything()
    lakes.landed(kind, zone).must_hold(export)
    figures.record(
        f"landed and aggregated as the oracle says, {kind}, TZ={zone}",
        f"{len(export.records)} rows, {len(export.bad)} dead letters, {len(export.days)} days",
    )


def test_repeated_landing_changes_nothing(lakes, kind):
    """The directory now has `aggregates.jsonl` too, which is not an export file."""
    lake = lakes.landed(kind)
    before = [delta.version(lake.place, table) for table in TABLES]
    lake.land()
    assert [delta.version(lake.place, table) for table in TABLES] == before
    lake.must_have_landed(everything().records, everything().bad)


@pytest.mark.parametrize("order", ["first half first", "second half first"])
def test_order_of_files_does_not_matter(lakes, kind, order):
    export = everything() if LONG else build(
        [date(2026, 1, 15), date(2026, 1, 16)], CITIES[:2], forecasts=1, late=5, redelivered=8, resent=3,
        malformed=["cut short", "no weather", "Kelvin", "NaN"], file_hours=3,
    )  # fmt: skip
    halves = export.halves()
    lake = lakes.new(kind)
    for half in halves if order.startswith("first") else reversed(halves):
        lake.put(half)
        lake.land()
        lake.aggregate()
    lake.must_hold(export)


def test_single_file_is_landed(lakes, kind):
    export = build([date(2026, 1, 15)], CITIES[:1], file_hours=24)
    lake = lakes.new(kind)
    lake.put(export.files)
    for path in export.files:
        lake.isobar.land(f"{lake.place.export_url}/{path}")
    lake.must_have_landed(export.records, [])


def test_local_files_land_in_a_lake_on_hdfs(lakes, tmp_path):
    export = build([date(2026, 1, 15)], CITIES[:1], malformed=["an empty line"])
    for path, data in export.files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    lake = lakes.new("hdfs")
    lake.isobar.land(str(tmp_path))
    lake.must_have_landed(export.records, export.bad)


def test_files_with_unexpected_names_are_skipped_with_a_warning(lakes):
    """An invalid file name must not fail the listing of a landing, an export or a run."""
    lake = lakes.new("local")
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake.put(export.files)
    directory = os.fsencode(lake.place.root / "weather" / "dt=2026-01-15")
    unexpected = [b"notes.txt", b"weather.json.gz", b"weather_\n.json", b"weather_\x01.json", b"weather_\xff.json"]
    for name in [*unexpected, b".hidden", b"_SUCCESS", b"of another query.jsonl"]:
        Path(os.fsdecode(os.path.join(directory, name))).write_bytes(b"no line\n")
    for _ in "ab":
        said = [json.loads(line) for line in lake.land().stderr.splitlines()]
        left_out = [line for line in said if "left out" in line["message"]]
        assert len(left_out) == len(unexpected), left_out
    lake.aggregate()
    lake.isobar.ok("check")
    lake.must_hold(export)


def test_log_line_of_a_commit_names_its_topic(lakes):
    """Lines about a table have no topic of their own: the span of the landing has it."""
    lake = lakes.new("local")
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    said = [json.loads(line) for line in lake.land().stderr.splitlines()]
    spans = [line["span"] for line in said if line["message"] == "committed"]
    assert spans and all(span == {"name": "landing", "topic": "weather-api"} for span in spans), said


def test_watch_reports_a_skipped_file_once(lakes):
    lake = lakes.new("local")
    export = build([date(2026, 1, 15)], CITIES[:1], file_hours=6)
    for name in ["notes.txt", "a\nb.json"]:
        lake.place.write(f"weather/{name}", b"no line\n")
    process = lake.isobar.start("land", "--from", "files", lake.place.export_url)
    for path, data in export.files.items():
        before = count_of(lake)
        lake.put({path: data})
        eventually(lambda: count_of(lake) > before, "its rows", within_s=120)  # noqa: B023
    process.terminate()
    assert process.wait(timeout=120) == 0
    assert sum("left out" in line for line in process.said().splitlines()) == 2
    lake.must_have_landed(export.records, [])


def count_of(lake) -> int:
    return delta.count(lake.place, "weather") if delta.versions_seen(lake.place, "weather") else 0


@pytest.mark.parametrize(
    ("ends", "joins"),
    [(b"", b"\n"), (b"\r\n", b"\r\n"), (b"\n", b"\n  \t")],
    ids=["no line feed at the end", "Windows line ends", "space around a line"],
)
def test_white_space_around_a_line_is_accepted(lakes, ends, joins):
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake = lakes.new("local")
    lines = [export_line(record) for record in export.records]
    lake.put({"dt=2026-01-15/weather_1.json": joins.join(lines) + ends})
    lake.land()
    lake.must_have_landed(export.records, [])


def test_small_commits_land_the_same_rows(lakes, kind):
    export = build([date(2026, 1, 15)], CITIES[:2], malformed=["cut short"] * 3)
    lake = lakes.new(kind, ISOBAR__LAND__ROWS_MAX="100")
    lake.put(export.files)
    lake.land()
    assert delta.versions_seen(lake.place, "weather") >= 3
    lake.must_have_landed(export.records, export.bad)


def test_checkpoints_hold_the_positions(lakes):
    """A reader opens the table from a checkpoint and the later entries. Here every 3rd commit has one, not every 100th."""
    first, second = (build([date(2026, 1, n)], CITIES[:1], first_offset=n * 1000) for n in (15, 16))
    lake = lakes.new("local", ISOBAR__LAND__ROWS_MAX="30")
    lake.put(first.files)
    lake.land()
    delta.table(lake.place, "weather").alter.set_table_properties({"delta.checkpointInterval": "3"})
    lake.put(second.files)
    lake.land()
    log = lake.place.names("lake/weather/_delta_log")
    assert any(name.endswith(".checkpoint.parquet") for name in log) and "_last_checkpoint" in log
    version = delta.version(lake.place, "weather")
    lake.land()
    assert delta.version(lake.place, "weather") == version
    lake.must_have_landed(first.records + second.records, [])


def test_message_is_kept_as_text(lakes, kind):
    lake = lakes.landed(kind)
    rows = lake.rows("weather", ["kafka_partition", "kafka_offset", "value"])
    texts = {(row["kafka_partition"], row["kafka_offset"]): row["value"] for row in rows}
    for record in everything().records[:200]:
        assert json.loads(texts[record.identity]) == record.value


def test_dead_letter_keeps_the_line(lakes, kind):
    """As bytes, since malformed lines need not be text. Only the beginning of a very long line is kept."""
    rows = lakes.landed(kind).rows("dead_letters", ["path", "line", "value"])
    kept = {("/".join(row["path"].split("/")[-2:]), row["line"]): row["value"] for row in rows}
    for bad in everything().bad:
        value = kept[bad.path, bad.line]
        assert value is not None, bad.kind
        assert len(bad.raw) > 65_536 or value == bad.raw, bad.kind


def test_redelivery_with_other_content_is_skipped(lakes):
    """(topic, partition, offset) is the identity, independent of the content: the message that lands first stays."""
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake = lakes.new("local")
    lake.put(export.files)
    lake.land()
    changed = export_line(export.records[0]).replace(b'"stations"', b'"satellite"')
    lake.put({"dt=2026-01-16/weather_again.json": changed + b"\n"})
    lake.land()
    lake.must_have_landed(export.records, [])


def test_watch_lands_new_files_and_retries_while_the_namenode_restarts(lakes, stack, figures):
    lake = lakes.new("hdfs", ISOBAR__LAND__ROWS_MAX="100", ISOBAR__HDFS__TIMEOUT="3s")
    lake.place.make_directory("weather")
    process = lake.isobar.start("land", "--from", "files", lake.place.export_url)
    truth = Export()
    for n, day in enumerate(day_range(date(2026, 1, 15), faults.times("namenode"))):
        today = build([day], CITIES[:2], malformed=["no weather"], first_offset=n * 1000)
        truth.records += today.records
        truth.bad += today.bad
        commits = delta.versions_seen(lake.place, "weather")
        lake.put(today.files)
        eventually(lambda: delta.versions_seen(lake.place, "weather") > commits, "a commit", within_s=120)
        stack.kill("namenode")
        stack.start("namenode")
        eventually(lambda: delta.count(lake.place, "weather") == len(truth.records), "all rows", within_s=120)
        assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 0
    lake.must_have_landed(truth.records, truth.bad)
    figures.record(
        "restart of namenode under land from files",
        f"{faults.times('namenode')} times, {len(truth.records)} rows: 0 lost, 0 double",
    )
