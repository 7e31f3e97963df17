"""PostgreSQL → export files: each row becomes one line in the directory of its day, also after kills and restarts."""

import json
import random
import re
import threading
import time
from collections import Counter
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from support import faults, oracle
from support.binary import Isobar, Process
from support.database import Database, local
from support.fixtures import LONG
from support.lake import Lake
from support.sources import lake_of
from support.topic import Topic, weather
from support.weather_data import AUTUMN, CITIES, PARIS, SPRING, Record, day_range, envelope, export_line
from test_consume import get
from test_kafka import end, producing, wait_until

KILLS = 30 if LONG else 4
# Rate of messages while servers restart.
PER_SECOND = 400
# The begun exports and the exported offsets.
STATE = "SELECT file, offsets::TEXT FROM isobar.exports UNION SELECT topic, offsets::TEXT FROM isobar.exported"
NAME = re.compile(r"weather_\d{8}T\d{12}\.json")


def exporting(lakes, kind: str, topic: Topic, database: Database, **variables: str) -> Lake:
    quick = {"ISOBAR__EXPORT__INTERVAL": "200ms", "ISOBAR__HDFS__TIMEOUT": "3s"}
    return lake_of(lakes, kind, topic, database, **quick | variables)


def consume(lake: Lake) -> None:
    lake.isobar.ok("consume", "--once")


def export(lake: Lake) -> str:
    return lake.isobar.ok("export", "--once").stdout


def jsonb(value):
    """Sorts keys in the order of JSONB."""
    if isinstance(value, dict):
        return {key: jsonb(value[key]) for key in sorted(value, key=lambda key: (len(key.encode()), key.encode()))}
    return [jsonb(item) for item in value] if isinstance(value, list) else value


def legacy_line(record: Record) -> bytes:
    """The line of the legacy exporter: Python reads a JSONB column and writes it as JSON."""
    return json.dumps(envelope(record) | {"value": jsonb(record.value)}, ensure_ascii=False).encode()


def files(lake: Lake) -> list[str]:
    """Paths of the export files, without temporary files."""
    paths = [file.path for file in lake.place.walk("weather")]
    return [path for path in paths if not path.rsplit("/", 1)[1].startswith(".")]


def exported(lake: Lake) -> dict[str, list[bytes]]:
    """The lines in the files, by directory."""
    found: dict[str, list[bytes]] = {}
    for path in files(lake):
        _, day, name = path.split("/")
        assert NAME.fullmatch(name), path
        content = lake.place.read(path)
        assert content.endswith(b"\n")
        found.setdefault(day, []).extend(content.splitlines())
    return found


def exported_identities(lake: Lake) -> list[tuple[int, int]]:
    """The identities of all lines, including duplicates."""
    lines = (json.loads(line) for lines in exported(lake).values() for line in lines)
    return sorted((line["kafka_partition"], line["kafka_offset"]) for line in lines)


def must_hold(lake: Lake, records: list[Record], zone: ZoneInfo = PARIS) -> None:
    """Asserts that every record has one line, as the legacy exporter writes it, in the directory of its day."""
    want: dict[str, list[bytes]] = {}
    for record in records:
        day = datetime.fromtimestamp(record.event_at, zone).date()
        want.setdefault(f"dt={day}", []).append(legacy_line(record))
    found = exported(lake)
    assert found.keys() == want.keys()
    for day, lines in want.items():
        assert Counter(found[day]) == Counter(lines), day


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kathmandu"])
def test_lines_match_the_legacy_exporter_in_the_directory_of_their_day(lakes, kind, topic, database, zone):
    records = weather([date(2026, 1, 15), SPRING, AUTUMN], CITIES[:3], forecasts=2)
    # Numbers with a notation of their own in Python.
    for record, number in zip(records, [1e-05, 1.5e-13, 123456789012345678, 12.0, 0.0001], strict=False):
        record.value["weather"]["odd"] = [number, -number, f"{number} \\ \" \t é \x01"]
    topic.produce(records)
    lake = exporting(lakes, kind, topic, database, ISOBAR__TIME__ZONE=zone, TZ="America/New_York")
    consume(lake)
    assert f"{len(records):,} rows exported" in export(lake)
    must_hold(lake, topic.records, ZoneInfo(zone))


def test_exported_files_land_the_same_messages_as_kafka(lakes, kind, topic, database, figures):
    topic.produce(
        weather([date(2026, 1, 15), AUTUMN], CITIES[:2], forecasts=1),
        kinds=["cut short", "NaN", "a key twice", "value is the API's 401", "no weather", "temperature is a text"],
    )
    by_files = exporting(lakes, kind, topic, database)
    consume(by_files)
    export(by_files)
    by_files.land()
    by_kafka = exporting(lakes, "local", topic, database)
    by_kafka.isobar.ok("land", "--from", "kafka", "--once")
    assert by_files.identities() == by_kafka.identities() == oracle.identities(topic.records)
    oracle.compare_observations(by_files.rows("weather"), topic.records)
    # Messages that landed from one source are skipped from the other.
    assert re.search(r"\b0 messages landed, 3 refused", by_files.isobar.ok("land", "--from", "kafka", "--once").stdout)
    by_kafka.put(read_files(by_files))
    assert re.search(r"\b0 messages landed, 0 refused", by_kafka.land().stdout)
    assert by_files.identities() == by_kafka.identities()
    figures.record(f"export → land from files = land from Kafka, {kind}", f"{len(topic.records)} rows, nothing twice")


def read_files(lake: Lake) -> dict[str, bytes]:
    return {path.removeprefix("weather/"): lake.place.read(path) for path in files(lake)}


def test_second_export_has_new_and_late_rows(lakes, kind, topic, database):
    lake = exporting(lakes, kind, topic, database)
    assert "0 rows exported to 0 files" in export(lake)
    records = weather([date(2026, 1, 15), date(2026, 1, 16)], CITIES[:2])
    for chunk in [records[300:], records[:100], records[100:300]]:
        topic.produce(chunk)
        consume(lake)
        assert f"{len(chunk)} rows exported" in export(lake)
    before = lake.place.walk("weather")
    assert "0 rows exported to 0 files" in export(lake)
    assert lake.place.walk("weather") == before
    must_hold(lake, topic.records)


def test_export_is_bounded_by_its_limits(lakes, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]))
    lake = exporting(lakes, "local", topic, database, ISOBAR__EXPORT__ROWS_MAX="50")
    consume(lake)
    assert "288 rows exported to 6 files" in export(lake)
    must_hold(lake, topic.records)
    size = sum(len(legacy_line(record)) for record in topic.records) // 3
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]))
    lake = exporting(lakes, "local", topic, database, ISOBAR__EXPORT__BYTES_MAX=f"{size}B")
    consume(lake)
    files = re.search(r"288 rows exported to (\d) files", export(lake))
    assert files and int(files[1]) in (3, 4, 5)


@pytest.mark.parametrize("rows_max", [10, 1000])
def test_kill_loses_and_duplicates_no_row(lakes, kind, topic, database, rows_max, figures):
    chance = random.Random(rows_max)
    lake = exporting(lakes, kind, topic, database, ISOBAR__EXPORT__ROWS_MAX=str(rows_max), ISOBAR__EXPORT__INTERVAL="1ms")
    export(lake)  # for the tables
    records = weather(day_range(date(2026, 1, 1), 8), CITIES[:3])
    for n in range(KILLS):
        topic.produce(records[n * 100 : (n + 1) * 100])
        consume(lake)
        faults.kill_some_time_after("an export", lambda: database.rows(STATE), lambda: lake.isobar.start("export"), chance)
    export(lake)
    must_hold(lake, topic.records)
    figures.record(
        f"kill -9 of export, {kind}, {rows_max} rows a file", f"{KILLS} kills, {len(topic.records)} rows: 0 lost, 0 double"
    )


@pytest.mark.parametrize("moment", ["before the file", "after the file"])
def test_recorded_export_is_finished_with_the_same_file(lakes, kind, topic, database, moment):
    """Kills before and after the files are written, which the database does not see."""
    topic.produce(weather([date(2026, 1, 15), date(2026, 1, 16)], CITIES[:2]))
    lake = exporting(lakes, kind, topic, database)
    export(lake)  # for the tables
    consume(lake)
    with database.connect() as connection:
        connection.autocommit = False
        kill_between_files_and_record(lake, connection)
        names = files(lake)
        assert len(names) == 2
        if moment == "before the file":
            lake.place.delete("weather/" + names[0].split("/")[1])
    # Later rows belong to the next export.
    topic.produce(weather([date(2026, 1, 15)], CITIES[2:3]))
    consume(lake)
    export(lake)
    assert set(names) <= set(files(lake))
    must_hold(lake, topic.records)


def kill_between_files_and_record(lake: Lake, connection) -> None:
    """Kills the export after its files are written: this lock keeps it from recording the end."""
    connection.execute("LOCK TABLE isobar.exported IN SHARE MODE")
    process = lake.isobar.start("export")
    try:
        wait_until(lambda: len(files(lake)) == 2, "the files")
    finally:
        process.kill()
        process.wait()
    connection.rollback()


def test_row_without_a_valid_time_is_reported_and_skipped(lakes, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    lake = exporting(lakes, "local", topic, database)
    consume(lake)
    odd = [
        ("date_time", "infinity"),
        ("date_time", "0044-03-15 BC"),
        ("event_time", "-infinity"),
        ("event_time", "294000-01-01 00:00:00+00"),
    ]
    left_out = topic.records[5:100:25]
    for (column, no_time), record in zip(odd, left_out, strict=True):
        statement = f"UPDATE weather SET {column} = %s WHERE (partition, msg_offset) = (%s, %s)"
        database.run(statement, [no_time, *record.identity])
    outcome = lake.isobar.ok("export", "--once")
    others = [record for record in topic.records if record not in left_out]
    assert f"{len(others)} rows exported" in outcome.stdout
    warnings = [json.loads(line) for line in outcome.stderr.splitlines() if "left out" in line]
    assert sorted((line["partition"], line["offset"]) for line in warnings) == oracle.identities(left_out)
    must_hold(lake, others)
    # The skipped rows are done: later rows are exported, without another warning.
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1]))
    consume(lake)
    outcome = lake.isobar.ok("export", "--once")
    assert "144 rows exported" in outcome.stdout and "left out" not in outcome.stderr


def test_ref_date_has_the_time_of_the_last_export(lakes, topic, database):
    database.run("CREATE TABLE ref_date (ref_date TIMESTAMP)")
    database.run("INSERT INTO ref_date VALUES ('2025-12-31 23:00:00')")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    lake = exporting(lakes, "local", topic, database)
    consume(lake)
    before = local(int(time.time()))
    export(lake)
    [[recorded]] = database.rows("SELECT ref_date FROM REF_DATE")
    assert before <= recorded <= local(int(time.time()) + 1)
    must_hold(lake, topic.records)  # it is not the cursor


LEGACY_REF_DATES = {
    # The table of each version of the legacy exporter, its rows, and the rows that remain.
    "a row a cycle": (
        "CREATE TABLE ref_date (ref_date TIMESTAMP PRIMARY KEY DEFAULT CURRENT_TIMESTAMP)",
        "INSERT INTO ref_date VALUES ('2025-12-31 23:00'), ('2025-12-31 23:10'), ('2025-12-31 23:20')",
        2,
    ),
    "a row an application": (
        "CREATE TABLE ref_date (ref_date TIMESTAMP, application_name VARCHAR(100) PRIMARY KEY)",
        "INSERT INTO ref_date VALUES ('2025-12-31 23:00', 'HDFS'), ('2025-12-31 23:10', 'Hive')",
        1,
    ),
    "no key": (
        "CREATE TABLE ref_date (ref_date TIMESTAMP)",
        "INSERT INTO ref_date VALUES ('2025-12-31 23:00'), ('2025-12-31 23:00'), (NULL)",
        2,
    ),
    "empty": ("CREATE TABLE ref_date (ref_date TIMESTAMP PRIMARY KEY)", "SELECT", 0),
}


@pytest.mark.parametrize("form", LEGACY_REF_DATES)
def test_every_legacy_form_of_ref_date_is_updated_in_one_row(lakes, topic, database, form):
    made, filled, stay = LEGACY_REF_DATES[form]
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    database.legacy_table(topic.records[:30])
    database.run(made)
    database.run(filled)
    before = database.rows("SELECT ref_date FROM ref_date")
    lake = exporting(lakes, "local", topic, database)
    assert "30 rows exported" in export(lake)
    consume(lake)
    assert "20 rows exported" in export(lake)
    must_hold(lake, topic.records)
    recorded = database.rows("SELECT ref_date FROM ref_date")
    assert len(recorded) == max(len(before), 1)
    assert sum(1 for row in recorded if row in before) >= stay
    [new] = [at for (at,) in recorded if at and at.year >= 2026]
    assert new <= local(int(time.time()) + 1)
    assert lake.isobar.ok("check")


def test_ref_date_that_refuses_the_row_does_not_stop_the_export(lakes, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    database.run("CREATE TABLE ref_date (ref_date TIMESTAMP, why TEXT NOT NULL)")
    lake = exporting(lakes, "local", topic, database)
    consume(lake)
    outcome = lake.isobar.ok("export", "--once")
    assert "50 rows exported" in outcome.stdout and "ref_date" in outcome.stderr
    assert "0 rows exported" in export(lake)
    must_hold(lake, topic.records)


def test_line_with_a_scalar_value_counts_as_exported(lakes, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:4])
    values = [[1, 2], "text", 17, None]
    odd = [Record(r.partition, r.offset, r.event_at, v) for r, v in zip(topic.records, values, strict=True)]
    database.legacy_table(odd)
    lake = exporting(lakes, "local", topic, database)
    lines = b"".join(export_line(record) + b"\n" for record in odd)
    lake.put({"dt=2026-01-17/weather_20260117T001000123456.json": lines})
    assert "0 rows exported" in export(lake)


def test_rows_of_the_legacy_exporter_are_not_exported_again(lakes, kind, topic, database):
    topic.produce(weather([date(2026, 1, 15), date(2026, 1, 16)], CITIES[:2]))
    database.legacy_table(topic.records)
    # It skipped some rows, and named the directory after the day of the export.
    written = [record for place, record in enumerate(topic.records) if place % 50 and place < 400]
    lake = exporting(lakes, kind, topic, database)
    content = b"".join(export_line(record) + b"\n" for record in written)
    # A file of a deleted topic of this name: other messages under the same offsets.
    other = [Record(r.partition, r.offset, r.event_at - 86_400, r.value) for r in topic.records[400:420]]
    lake.put({
        "dt=2026-01-17/weather_20260117T001000123456.json": content,
        "dt=2025-01-17/weather_20250117T001000123456.json": b"".join(export_line(r) + b"\n" for r in other),
    })  # fmt: skip
    lost = len(topic.records) - len(written)
    consume(lake)
    assert f"{lost} rows exported" in export(lake)
    lake.place.delete("weather/dt=2025-01-17")
    assert exported_identities(lake) == oracle.identities(topic.records)


def test_service_exports_new_rows_and_ends_on_a_signal(lakes, kind, topic, database):
    lake = exporting(lakes, kind, topic, database)
    process = lake.isobar.start("export")
    wait_until(lambda: get(process, "/readyz")[0] == 200, "to be ready")
    for day in [15, 16]:
        topic.produce(weather([date(2026, 1, day)], CITIES[:1]))
        consume(lake)
        wait_until(lambda: sum(map(len, exported(lake).values())) == len(topic.records), "the lines")
    wait_until(lambda: "isobar_export_rows_total 288" in get(process, "/metrics")[1], "the count of the rows")
    assert get(process, "/healthz")[0] == 200
    assert end(process) == 0
    must_hold(lake, topic.records)


@pytest.mark.parametrize("server", ["namenode", "postgres"])
def test_service_retries_while_servers_restart_under_load(lakes, stack, topic, database, server, figures):
    lake = exporting(lakes, "hdfs", topic, database, ISOBAR__EXPORT__ROWS_MAX="100")
    chance = random.Random(5)
    with lake.isobar.start("consume") as consuming, lake.isobar.start("export") as process:
        with producing(topic, PER_SECOND):
            for _ in range(faults.times(server)):
                faults.some_time_after("a file", lambda: len(files(lake)), process, chance)
                faults.make_unavailable(stack, server)
                wait_until(lambda: get(process, "/readyz")[0] == 503, f"{server} is unavailable")
                faults.restore(stack, server)
            faults.some_time_after("a file", lambda: len(files(lake)), process, chance)
        wait_until(lambda: database.count() == len(topic.records), "all rows")
        assert end(consuming) == 0
        # Messages from the outage are exported to many small files.
        while (so_far := exported_rows(process)) < len(topic.records):
            wait_until(lambda: exported_rows(process) > so_far, "more lines")  # noqa: B023
        assert end(process) == 0
    must_hold(lake, topic.records)
    figures.record(
        f"restart of {server} under export", f"{faults.times(server)} times, {len(topic.records)} rows: 0 lost, 0 double"
    )


def exported_rows(process: Process) -> int:
    return int(re.search(r"isobar_export_rows_total (\d+)", get(process, "/metrics")[1])[1])


def test_export_waits_for_unavailable_hdfs(lakes, stack, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    lake = exporting(lakes, "hdfs", topic, database)
    consume(lake)
    stack.kill("namenode")
    starting = threading.Timer(3, stack.start, ["namenode"])
    starting.start()
    try:
        outcome = lake.isobar.ok("export", "--once")
    finally:
        starting.join()
    assert "waiting for the storage" in outcome.stderr
    must_hold(lake, topic.records)


def test_check_reports_postgresql_if_it_is_configured(lakes, topic, database):
    lake = exporting(lakes, "local", topic, database)
    assert re.search(rf"^ok +postgres +{database.host}:{database.port}", lake.isobar.ok("check").stdout, re.M)
    wrong = lake.isobar.having(POSTGRES_PASSWORD="not the password")
    wrong.refused("check", code=1, says=["postgres", "POSTGRES_PASSWORD"])
    nowhere = Isobar(lake.isobar.binary, lake.isobar.directory, lake.isobar.variables)
    none = {name: None for name in lake.isobar.variables if "POSTGRES" in name}
    assert "postgres" not in nowhere.having(**none).ok("check").stdout
