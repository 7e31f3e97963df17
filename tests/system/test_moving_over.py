"""Moving over from the legacy pipeline, back and forward again, by the steps of docs/moving-over.md."""

import json
import re
import subprocess
from datetime import date

from support import oracle
from support.binary import TIMEOUT_S, REPOSITORY
from support.database import Database, local
from support.lake import DAILY_TABLE
from support.sources import lake_of
from support.topic import weather
from support.weather_data import AUTUMN, CITIES, Record, encode, export_line
from support.web import eventually
from test_kafka import count, end

PAGE = (REPOSITORY / "docs" / "moving-over.md").read_text()
# The commands of all steps, in order.
COMMANDS = re.findall(r"^isobar ((?:check|land|run|consume|export)[^\n]*)", PAGE, re.M)
# Commands of the tools of PostgreSQL.
DUMP, RESTORE = (re.search(rf"^{tool} [^\n]*", PAGE, re.M)[0] for tool in ["pg_dump", "pg_restore"])
QUERIES = re.findall(r'^isobar sql -c "([^"]*)"', PAGE, re.M)


def step(lake, *words: str) -> list[str]:
    """The arguments of the next command of the page, which must begin with these words."""
    [command] = [command for command in COMMANDS if all(word in command.split() for word in words)]
    base_path = '"hdfs://namenode:8020$HDFS_BASE_PATH"'
    return [lake.place.export_url if word == base_path else word for word in command.split()]


def test_steps_of_the_page_move_each_message_once(lakes, kind, topic, database):
    topic.produce(weather([date(2026, 1, 15), AUTUMN], CITIES[:2], forecasts=1), kinds=["no weather"])
    records = list(topic.records)
    # The legacy consumer lost some messages and wrote others twice. Kafka has deleted the first ones.
    consumed = [record for place, record in enumerate(records) if place % 40]
    database.legacy_table(consumed + consumed[100:120])
    # The legacy exporter skipped rows and wrote some twice, in the directory of the day of the export.
    exported = [record for place, record in enumerate(consumed[:450]) if place % 30] + consumed[10:15]
    lake = lake_of(lakes, kind, topic, database, ISOBAR__LAND__INTERVAL="200ms")
    lake.put({"dt=2026-01-17/weather_20260117T001000123456.json": b"".join(export_line(r) + b"\n" for r in exported)})
    gone = {number: 20 for number in {record.partition for record in records}}
    topic.delete_before(gone)
    # The producer runs in the meantime.
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]))

    lake.isobar.ok("check")
    from_files = lake.isobar.ok(*step(lake, "files")).stdout
    distinct = {record.identity for record in exported}
    assert f"{len(distinct)} messages landed" in from_files
    from_postgres = lake.isobar.ok(*step(lake, "postgres")).stdout
    assert f"{len(consumed) - len(distinct)} messages landed, 0 refused, {len(distinct)} skipped" in from_postgres
    there = {record.identity for record in consumed}
    truth = [r for r in topic.records if r.identity in there or r.offset >= gone.get(r.partition, 0)]
    with lake.isobar.start(*step(lake, "kafka")) as process:
        eventually(lambda: count(lake) == len(truth), "all rows", TIMEOUT_S)
        topic.produce(weather([date(2026, 1, 17)], CITIES[:2])[:50])
        truth += topic.records[-50:]
        eventually(lambda: count(lake) == len(truth), "what came since", TIMEOUT_S)
        assert end(process) == 0, process.said()
    # Repeated, in another order, the steps change nothing.
    for source in ["postgres", "files"]:
        assert " 0 messages landed" in f" {lake.isobar.ok(*step(lake, source)).stdout}"
    lake.isobar.ok(*step(lake, "run"))
    assert lake.identities() == oracle.identities(truth)
    oracle.compare_observations(lake.rows("weather"), truth)
    oracle.compare_daily(lake.rows(DAILY_TABLE), oracle.daily_weather_by_city(truth))
    counted, dead_letters = (lake.isobar.query(query) for query in QUERIES)
    assert all(row["rows"] == row["messages"] for row in counted)
    assert sum(row["rows"] for row in counted) == len(truth)
    assert [(row["source"], row["n"]) for row in dead_letters] == [("kafka", 1)]
    [dead_letter] = lake.rows("dead_letters")
    assert (dead_letter["kafka_partition"], dead_letter["kafka_offset"]) == topic.bad[0].identity


def shell(lake, command: str) -> None:
    """Runs another command of the page, with the variables of its first step."""
    environment = lake.isobar.environment()
    environment["PGPASSWORD"] = environment["POSTGRES_PASSWORD"]
    done = subprocess.run(
        ["bash", "-ec", command], cwd=lake.isobar.directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class LegacyPipeline:
    """The legacy pipeline: its table, and its `ref_date` with a row for each cycle, whose key is the time."""

    def __init__(self, lake, database: Database):
        self.lake, self.database, self.cycles = lake, database, 0

    def consume(self, records: list[Record]) -> None:
        """Inserts rows as the legacy consumer, with its columns only, and without a check for existing rows."""
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS weather (date_time TIMESTAMP, msg_offset BIGINT, partition INT, value JSONB)"
            )
            cursor.executemany(
                "INSERT INTO weather (date_time, msg_offset, partition, value) VALUES (%s, %s, %s, %s)",
                [[local(r.event_at), r.offset, r.partition, encode(r.value).decode()] for r in records],
            )

    def export(self, records: list[Record]) -> None:
        """Exports as the legacy exporter, with a file and a row for each cycle."""
        self.cycles += 1
        self.database.run("CREATE TABLE IF NOT EXISTS REF_DATE (ref_date TIMESTAMP PRIMARY KEY DEFAULT CURRENT_TIMESTAMP)")
        self.database.run("INSERT INTO REF_DATE DEFAULT VALUES")
        name = f"dt=2026-01-1{self.cycles}/weather_2026011{self.cycles}T001000123456.json"
        self.lake.put({name: b"".join(export_line(record) + b"\n" for record in records)})


def exported(lake) -> list[tuple[int, int]]:
    """Identities in the export files, including duplicates."""
    paths = [file.path for file in lake.place.walk("weather") if file.path.endswith(".json")]
    lines = (json.loads(line) for path in paths for line in lake.place.read(path).splitlines())
    return sorted((line["kafka_partition"], line["kafka_offset"]) for line in lines)


def forward(lake, expected: list[Record]) -> None:
    """Runs the steps of the page from the dump on, twice."""
    shell(lake, DUMP)
    for _ in "ab":
        lake.isobar.ok(*step(lake, "files"))
        lake.isobar.ok(*step(lake, "postgres"))
        for service in [step(lake, "land", "kafka"), step(lake, "consume"), step(lake, "export")]:
            lake.isobar.ok(*service, "--once")
        lake.isobar.ok(*step(lake, "run"))
    assert lake.identities() == oracle.identities(expected)
    oracle.compare_observations(lake.rows("weather"), expected)
    oracle.compare_daily(lake.rows(DAILY_TABLE), oracle.daily_weather_by_city(expected))
    assert lake.rows("dead_letters") == []


def test_return_to_the_legacy_pipeline_and_back_loses_nothing(lakes, kind, topic, database):
    lake = lake_of(lakes, kind, topic, database)
    legacy = LegacyPipeline(lake, database)
    records = weather([date(2026, 1, 15), AUTUMN], CITIES[:2])
    topic.produce(records[:300])
    first = list(topic.records)
    # It lost some messages, exported some rows twice in each of three cycles, and never exported others.
    legacy.consume([record for place, record in enumerate(first) if place % 40])
    for cycle in range(3):
        legacy.export([record for place, record in enumerate(first[: 100 * cycle + 90]) if place % 40 and place % 30])
    lines_before = exported(lake)
    assert "legacy pipeline is taken over" in lake.isobar.ok(*step(lake, "check")).stdout
    forward(lake, first)
    assert database.identities() == oracle.identities(first)
    must_be_exported(lake, lines_before, first)

    # Further messages, which the dump does not have; then the return.
    topic.produce(records[300:400])
    for service in ["consume", "export"]:
        lake.isobar.ok(*step(lake, service), "--once")
    shell(lake, RESTORE)
    assert database.scalar("SELECT count(*) FROM weather") == len([1 for place in range(300) if place % 40])
    with database.connect() as connection:
        columns = connection.execute("SELECT * FROM weather LIMIT 0").description
        assert [column.name for column in columns] == ["date_time", "msg_offset", "partition", "value"]
        assert [column.name for column in connection.execute("SELECT * FROM ref_date").description] == ["ref_date"]
    # Its group is reset to the time of the dump: it reads later messages, loses some, and continues.
    topic.produce(records[400:])
    since = [record for place, record in enumerate(topic.records[290:]) if place % 25]
    legacy.consume(since)
    before = exported(lake)
    legacy.export(since[-60:])

    said = lake.isobar.ok(*step(lake, "check")).stdout
    assert "legacy pipeline's again" in said
    lines_before = exported(lake)
    assert len(lines_before) == len(before) + 60
    forward(lake, topic.records)
    assert "tables of version" in lake.isobar.ok(*step(lake, "check")).stdout
    assert database.identities() == oracle.identities(topic.records)
    must_be_exported(lake, lines_before, topic.records)


def must_be_exported(lake, before: list[tuple[int, int]], records: list[Record]) -> None:
    """Asserts that rows without a line have one now, and that nothing else was written."""
    found = exported(lake)
    assert sorted(set(found)) == oracle.identities(records)
    assert len(found) == len(before) + len(set(found) - set(before))
