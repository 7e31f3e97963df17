"""Several topics and tables at once: each lands independently, and `system.completeness` has its position."""

import json
import random
import re
import shlex
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Producer

from support import delta, sensors
from support.binary import TIMEOUT_S, REPOSITORY, Process
from support.fixtures import LONG
from support.flight import Server
from support.lake import Lake
from support.sources import Source, lake_of
from support.sensors import Sensors
from support.topic import Topic, compare_dead_letters, weather
from support.weather_data import CITIES
from support.web import Web, eventually, web_of

KILLS = 15 if LONG else 3
BEHIND = """
    INSERT INTO weather (topic, partition, msg_offset, date_time, event_time, value)
    SELECT topic, partition, 1000, date_time + INTERVAL '1 hour', event_time + INTERVAL '1 hour', value
    FROM weather ORDER BY event_time DESC LIMIT 1
"""
QUICK = {"ISOBAR__LAND__INTERVAL": "100ms", "ISOBAR__TIME__ZONE": "UTC"}
# Number of topics that share `dead_letters` and commit continuously.
MANY = 20 if LONG else 6
PAGE = (REPOSITORY / "docs" / "landing-your-own-topic.md").read_text()
OWN_TABLES = ["weather", "weather_forecast", "dead_letters"]


@pytest.fixture
def readings(kafka):
    return Sensors(kafka, partitions=2)


@pytest.fixture
def lake_with(lakes, tmp_path):
    """A lake with further table files."""

    def make(kind: str, topic: Topic, *tables: tuple[str, str], **variables: str) -> Lake:
        queries = sensors.queries_with(tmp_path, *tables)
        own = {"ISOBAR__QUERIES__PATH": str(queries), "BOOTSTRAP_SERVERS": topic.servers, "TOPIC_NAME": topic.name}
        return lakes.new(kind, **own, **QUICK, **variables)

    return make


def land_once(lake: Lake, *arguments: str) -> str:
    return lake.isobar.ok("land", "--from", "kafka", "--once", *arguments).stdout


def dead_letters(lake: Lake, topic: Topic) -> list[dict]:
    return [row for row in lake.rows("dead_letters") if row["kafka_topic"] == topic.name]


def must_hold(lake: Lake, topic: Topic, readings: Sensors) -> None:
    assert lake.identities() == sorted(record.identity for record in topic.records)
    compare_dead_letters(dead_letters(lake, topic), topic.bad, topic.name)
    sensors.compare_readings(lake.rows(sensors.TABLE), readings)
    found = dead_letters(lake, readings)
    compare_dead_letters(found, readings.bad, readings.name)
    assert {row["reason"] for row in found} <= {sensors.TOO_HOT}


def completeness(rows: list[dict]) -> dict[tuple[str, str, int], dict]:
    found = {(row["kafka_topic"], row["table_name"], row["kafka_partition"]): row for row in rows}
    assert len(found) == len(rows), "a topic partition stands twice"
    return found


def newest_of(topic: Topic) -> dict[int, int]:
    """The newest event time of the well-formed messages, by topic partition."""
    if isinstance(topic, Sensors):
        return topic.newest
    # A malformed message has the time of the well-formed one before it.
    return dict(sorted((record.partition, record.event_at) for record in topic.records))


def must_be_complete(rows: list[dict], lake: Lake, topic: Topic, tables: list[str], source: str = "kafka") -> None:
    """Asserts that each table is complete for this source, up to the newest produced event time."""
    found = completeness([row for row in rows if row["source"] == source])
    assert sorted(key[1:] for key in found if key[0] == topic.name) == sorted(
        # An empty topic partition has no position yet.
        (table, number)
        for table in tables
        for number in newest_of(topic)
    )
    newest = newest_of(topic)
    for number, (_, high) in enumerate(topic.watermarks()):
        if number not in newest:
            assert high == 0
            continue
        for table in tables:
            row = found[topic.name, table, number]
            assert row["next_offset"] == high
            assert instant(row["complete_until"]) == datetime.fromtimestamp(newest[number], UTC)
            assert row["table_version"] == delta.version(lake.place, table)
            assert row["table_rows"] == delta.count(lake.place, table)
            age = datetime.now(UTC) - instant(row["last_commit"])
            assert -5 < age.total_seconds() < TIMEOUT_S


def instant(value) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def asked(lake: Lake) -> list[dict]:
    return lake.isobar.query("SELECT * FROM system.completeness")


def test_topic_added_by_a_table_file_lands_beside_weather_under_kills(
    lake_with, kind, topic, readings, figures
):
    lake = lake_with(kind, topic, (sensors.TABLE, readings.name))
    chance = random.Random(18)
    days = weather([date(2026, 1, 15)], CITIES[:2])
    done = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        produced = thread.submit(produce_both, topic, readings, days, done)
        try:
            for _ in range(KILLS):
                kill_after_commits(lake, chance, produced)
        finally:
            done.set()
        produced.result()
    land_once(lake)
    must_hold(lake, topic, readings)
    must_be_complete(asked(lake), lake, topic, OWN_TABLES)
    must_be_complete(asked(lake), lake, readings, [sensors.TABLE, "dead_letters"])
    lake.isobar.ok("run", sensors.DAILY, "--all")
    columns = ["dt", "room", "readings", "coldest", "hottest"]
    found = [tuple(row[column] for column in columns) for row in lake.rows(sensors.DAILY_TABLE)]
    assert sorted(found) == sensors.daily(readings.records)
    figures.record(
        f"kill -9 of land of two topics from Kafka, {kind}",
        f"{KILLS} kills, {len(topic.records)} and {len(readings.records)} messages: 0 lost, 0 double",
    )


def kill_after_commits(lake: Lake, chance: random.Random, produced: Future) -> None:
    """Kills a landing a random time after a commit to a table of either topic."""
    with lake.isobar.start("land", "--from", "kafka") as process:
        for table in ("weather", sensors.TABLE):
            before = delta.versions_seen(lake.place, table)

            def committed(table=table, before=before) -> bool:
                assert process.poll() is None, process.said()
                assert not produced.done(), produced.exception()
                return delta.versions_seen(lake.place, table) > before

            try:
                eventually(committed, f"a commit to {table}", TIMEOUT_S)
            except AssertionError as error:
                raise AssertionError(process.said()) from error
        time.sleep(chance.random() * 0.3)
        assert process.poll() is None, process.said()
        process.kill()


def produce_both(topic: Topic, readings: Sensors, days: list, done: threading.Event) -> None:
    """Produces some messages of each by turns, until `done` is set."""
    for n in count():
        start = n * 9 % (len(days) - 9)
        topic.produce(days[start : start + 9], kinds=["cut short"], seed=n)
        readings.produce_readings(60, hot=2, late=3, seed=n)
        if done.wait(0.1):
            return


def test_completeness_has_the_position_of_each_table(lakes, topic):
    lake = lakes.new("local", BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name)
    assert asked(lake) == []
    topic.produce(weather([date(2026, 1, 15)], CITIES[:3])[:60], kinds=["no weather"])
    land_once(lake, "--topic", topic.name)
    before = asked(lake)
    must_be_complete(before, lake, topic, OWN_TABLES)
    # Messages that have not landed are not included.
    topic.produce(weather([date(2026, 1, 16)], CITIES[:3])[:60])
    assert asked(lake) == before
    land_once(lake)
    with Server(lake.isobar) as server:
        must_be_complete(server.rows("SELECT * FROM system.completeness"), lake, topic, OWN_TABLES)
        least = server.rows("SELECT min(complete_until) AS until FROM system.completeness WHERE table_name = 'weather'")
        assert instant(least[0]["until"]) == datetime.fromtimestamp(min(newest_of(topic).values()), UTC)
        listed = {(row["table_schema"], row["table_name"]) for row in server.rows("SHOW TABLES")}
        assert {("system", "completeness"), ("lake", "weather")} <= listed
        with server.connect() as connection:
            found = connection.adbc_get_objects(depth="all", table_name_filter="completeness")
            [catalog] = found.read_all().to_pylist()
            tables = {schema["db_schema_name"]: schema["db_schema_tables"] for schema in catalog["catalog_db_schemas"]}
            [found] = tables["system"]
            assert found["table_type"] == "SYSTEM TABLE" and not tables.get("lake")
            columns = [column["column_name"] for column in found["table_columns"]]
            assert columns == list(before[0])
    lake.isobar.refused("sql", "-c", "DELETE FROM system.completeness", code=1, says=["only read|reads"])


def test_completeness_has_a_row_for_each_source(lakes, topic, database):
    lake = lake_of(lakes, "local", topic, database)
    postgres = Source("postgres", lake, topic)
    topic.produce(weather([date(2026, 1, 15)], CITIES[:3])[:90])
    # Rows of the legacy pipeline land, and move no position.
    database.legacy_table(topic.records[60:])
    postgres.land()
    assert delta.count(lake.place, "weather") == 30 and asked(lake) == []
    postgres.transfer()
    postgres.land()
    must_be_complete(asked(lake), lake, topic, OWN_TABLES, "postgres")
    # A row beyond the position, one hour later: it lands, and the rows in between are missing.
    database.run(BEHIND)
    assert "1 message landed" in postgres.land().stdout
    must_be_complete(asked(lake), lake, topic, OWN_TABLES, "postgres")
    assert {row["source"] for row in asked(lake)} == {"postgres"}
    Source("kafka", lake, topic).land()
    for source in ["kafka", "postgres"]:
        must_be_complete(asked(lake), lake, topic, OWN_TABLES, source)


def test_table_declared_later_does_not_move_others_back(lake_with, kafka, topic):
    # Both tables are declared for the same topic, the second one after everything has landed in the first.
    shared = Sensors(kafka, partitions=1)
    lake = lake_with("local", topic, ("first", shared.name))
    shared.produce_readings(500, late=5)
    land_once(lake, "--topic", shared.name)
    declare(lake, "second", sensors.READINGS_SQL.format(topic=shared.name))
    small = lake.isobar.having(ISOBAR__LAND__ROWS_MAX="50", ISOBAR__LAND__INTERVAL="1h")
    small.ok("land", "--from", "kafka", "--once", "--topic", shared.name)
    highest = 0
    for version in range(delta.version(lake.place, "first") + 1):
        recorded = [action["txn"] for action in delta.actions(lake.place, "first", version) if "txn" in action]
        offsets = {txn["version"] for txn in recorded if txn["appId"] == f"isobar/kafka/{shared.name}/0"}
        assert not offsets or min(offsets) >= highest, f"version {version} has fallen back"
        highest = max(offsets, default=highest)
    assert highest == 500
    must_be_complete(asked(lake), lake, shared, ["first", "second", "dead_letters"])
    for table in ("first", "second"):
        sensors.compare_readings(lake.rows(table), shared)


def test_table_declared_later_does_not_hide_loss_of_others(lake_with, kafka, topic):
    shared = Sensors(kafka, partitions=1)
    lake = lake_with("local", topic, ("first", shared.name))
    shared.produce_readings(50)
    land = ["land", "--from", "kafka", "--once", "--topic", shared.name]
    lake.isobar.ok(*land)
    before = delta.version(lake.place, "first")
    shared.produce_readings(100)
    shared.delete_before({0: 100})
    declare(lake, "second", sensors.READINGS_SQL.format(topic=shared.name))
    lake.isobar.refused(*land, code=1, says=[shared.name, "offset 50", "none before 100", "--accept-loss"])
    assert delta.version(lake.place, "first") == before
    lake.isobar.ok(*land, "--accept-loss")
    offsets = {table: sorted(row["kafka_offset"] for row in lake.rows(table)) for table in ["first", "second"]}
    assert offsets == {"first": [*range(50), *range(100, 150)], "second": [*range(100, 150)]}


def test_message_refused_by_a_later_table_is_a_dead_letter_unless_it_has_rows(lake_with, kafka, topic):
    shared = Sensors(kafka, partitions=1)
    lake = lake_with("local", topic)
    # The first table selects hot readings of one sensor only, and refuses none.
    wanted = "WHERE message['celsius'] <= 1000 OR message['sensor'] = 's1'\n"
    readings = sensors.READINGS_SQL.format(topic=shared.name)
    without_rule = re.sub(r"--!\n--! \[\[refuse\]\]\n.*\n.*\n", "", readings)
    declare(lake, "first", without_rule + wanted)
    shared.produce_readings(300, hot=60)
    land = ["land", "--from", "kafka", "--once", "--topic", shared.name]
    assert " 0 refused" in lake.isobar.ok(*land).stdout
    of_s1 = [bad for bad in shared.bad if json.loads(bad.raw)["sensor"] == "s1"]
    others = [bad for bad in shared.bad if bad not in of_s1]
    assert of_s1 and others
    declare(lake, "second", readings)
    assert f" {len(others)} refused" in lake.isobar.ok(*land).stdout
    compare_dead_letters(dead_letters(lake, shared), others, shared.name)
    for table, records in {"first": [*shared.records, *of_s1], "second": shared.records}.items():
        offsets = [row["kafka_offset"] for row in lake.rows(table)]
        assert sorted(offsets) == sorted(record.identity[1] for record in records), table
    assert "0 messages landed, 0 refused" in lake.isobar.ok(*land).stdout


def declare(lake: Lake, table: str, text: str) -> None:
    tables = Path(lake.isobar.variables["ISOBAR__QUERIES__PATH"]) / "tables"
    (tables / f"{table}.sql").write_text(text)


def test_page_on_own_topics_works_from_first_message_to_aggregation(lakes, kafka, topic, tmp_path):
    """By the steps of docs/landing-your-own-topic.md only."""
    [name] = re.findall(r"--create --topic (\S+) --partitions 3", PAGE)
    Topic(kafka, name=name)
    producer = Producer({"bootstrap.servers": topic.servers})
    for line in re.findall(r'^\{"sensor".*\}$', PAGE, re.M):
        producer.produce(name, line)
    assert producer.flush(60) == 0
    queries = sensors.queries_with(tmp_path)
    files = re.findall(r"`queries/(\S+\.sql)`.*?```sql\n(.*?)```", PAGE, re.S)
    assert [path for path, _ in files] == ["tables/readings.sql", "sensors/daily_readings_by_room.sql"]
    for path, text in files:
        (queries / path).parent.mkdir(exist_ok=True)
        (queries / path).write_text(text)
    own = {"BOOTSTRAP_SERVERS": topic.servers, "TOPIC_NAME": topic.name, "ISOBAR__QUERIES__PATH": str(queries)}
    lake = lakes.new("local", **own)
    lake.isobar.ok("query", "check")
    commands = [shlex.split(command, comments=True) for command in re.findall(r"^isobar (.*)", PAGE, re.M)]
    # The other commands run for ever, or repeat this landing.
    [once] = [command for command in commands if command[0] == "land" and "--once" in command]
    lake.isobar.ok(*once)
    asked = [lake.isobar.ok(*command).stdout for command in commands if command[0] in ["sql", "run"]]
    for said, expected in zip(asked, ["kitchen", "too_hot", "readings", ""], strict=True):
        assert expected in said, said
    found = {(row["sensor"], row["room"], row["celsius"]) for row in lake.rows("readings")}
    assert found == {("s1", "kitchen", 21.5), ("s2", "cellar", 12.0)}
    daily = {(row["room"], row["readings"], row["hottest"]) for row in lake.rows("daily_readings_by_room")}
    assert daily == {("kitchen", 1, 21.5), ("cellar", 1, 12.0)}


def test_error_stops_its_own_topic_only_and_is_reported(lake_with, kind, topic, readings):
    lake = lake_with(kind, topic, (sensors.TABLE, readings.name))
    days = weather([date(2026, 1, 15)], CITIES[:1])
    topic.produce(days[:10])
    readings.produce_readings(20)
    with lake.isobar.start("land", "--from", "kafka") as process:
        web = web_of(process)
        eventually(lambda: landed(web, "weather") == 10 and landed(web, sensors.TABLE) == 20, "both", TIMEOUT_S)
        web.wait_until_ready()
        assert stopped(web, topic) == stopped(web, readings) == 0
        readings.delete()
        eventually(lambda: readings.name not in readings.admin.list_topics(timeout=10).topics, "its end")
        eventually(lambda: stopped(web, readings) == 1, "one has stopped", TIMEOUT_S)
        status, reason = web.get("/readyz")
        assert status == 503 and readings.name in reason and topic.name not in reason, reason
        topic.produce(days[10:40])
        eventually(lambda: landed(web, "weather") == 40, "the other goes on", TIMEOUT_S)
        assert stopped(web, topic) == 0 and web.get("/healthz") == (200, "ok\n")
        ended = end(process)
        assert ended == 1 and readings.name in process.said(), process.said()
    assert lake.identities() == sorted(record.identity for record in topic.records)


def landed(web: Web, table: str) -> float:
    return web.metric(f'isobar_landed_rows_total{{table="{table}"}}')


def stopped(web: Web, topic: Topic) -> float:
    return web.metric(f'isobar_landing_stopped{{topic="{topic.name}"}}')


def end(process: Process) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=TIMEOUT_S)


def test_missing_declared_topic_is_an_error_after_the_others_have_landed(lake_with, topic):
    lake = lake_with("local", topic, (sensors.TABLE, "nobody-made-it"))
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    says = ["1 of 2 topics", "there is no topic", "nobody-made-it"]
    lake.isobar.refused("land", "--from", "kafka", "--once", code=1, says=says, within_s=TIMEOUT_S)
    assert lake.identities() == sorted(record.identity for record in topic.records)
    assert "0 messages landed" in land_once(lake, "--topic", topic.name)
    both = ["--topic", topic.name, "--topic", "undeclared"]
    says = ["no table is declared", "undeclared"]
    lake.isobar.refused("land", "--from", "kafka", "--once", *both, code=1, says=says)
    files = ["land", "--from", "files", lake.place.export_url, "--once", "--topic", "a", "--topic", "b"]
    lake.isobar.refused(*files, code=2, says=["--topic can be given once"])


def test_landings_of_many_topics_share_the_dead_letters(lake_with, kafka, topic, kind):
    many = [Sensors(kafka, partitions=1) for _ in range(MANY)]
    tables = [(f"readings_{number}", one.name) for number, one in enumerate(many)]
    lake = lake_with(kind, topic, *tables, ISOBAR__LAND__ROWS_MAX="100")
    with lake.isobar.start("land", "--from", "kafka") as process:
        web = web_of(process)
        for seed in count():
            for one in many:
                one.produce_readings(50, hot=5, seed=seed)
            if seed >= 4 and all(landed(web, table) > 100 for table, _ in tables):
                break
            assert process.poll() is None and seed < 2_000, process.said()
        wanted = sum(len(one.bad) for one in many)
        eventually(lambda: landed(web, "dead_letters") == wanted, "all dead letters", TIMEOUT_S)
        metrics = web.metrics()
        for one in many:
            series = f'isobar_dead_letters_total{{topic="{one.name}",reason="{sensors.TOO_HOT}"}}'
            assert metrics[series] == len(one.bad)
            assert metrics[f'isobar_landing_restarts_total{{topic="{one.name}"}}'] == 0
            [(_, high)] = one.watermarks()
            assert metrics[f'isobar_landed_offset{{topic="{one.name}",topic_partition="0"}}'] == high
        assert end(process) == 0, process.said()
    for (table, _), one in zip(tables, many, strict=True):
        sensors.compare_readings(lake.rows(table), one)
        compare_dead_letters(dead_letters(lake, one), one.bad, one.name)
