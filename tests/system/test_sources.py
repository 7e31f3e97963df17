"""The contract of all sources of a landing: files, Kafka and PostgreSQL, each alone and by turns."""

import contextlib
import dataclasses
import json
import random
from collections.abc import Iterator
from datetime import date

import pytest

from support import faults, oracle
from support.binary import TIMEOUT_S
from support.database import Database
from support.fixtures import LONG
from support.lake import Lake
from support.malformed import OF_MESSAGES
from support.sources import SOURCES, Source, lake_of
from support.topic import Topic, weather
from support.weather_data import AUTUMN, CITIES, day_range, encode, export_line
from support.web import eventually, web_of
from test_kafka import RECREATED, count, end, producing, versions
from test_kill import nothing_lies_about

KILLS = 30 if LONG else 4
# Rate of messages while landings are killed.
PER_SECOND = 2_000 if LONG else 500
# Kinds that are possible for every source.
CARRIED = ["no weather", "Kelvin", "value is an empty object", "value is the API's 429"]


@pytest.fixture(params=SOURCES)
def source_name(request) -> str:
    return request.param


@pytest.fixture
def source(lakes, source_name, topic, database) -> Source:
    return Source(source_name, lake_of(lakes, "local", topic, database), topic)


def must_hold(lake: Lake, topic: Topic, sources: list[str]) -> None:
    """Asserts that each well-formed message has its rows once, and each malformed one a dead letter of one of these sources."""
    assert lake.identities() == oracle.identities(topic.records)
    oracle.compare_observations(lake.rows("weather"), topic.records)
    oracle.compare_forecasts(lake.rows("weather_forecast"), topic.records)
    dead_letters = lake.rows("dead_letters")
    want = {bad.identity: bad for bad in topic.bad}
    found = {(dead_letter["kafka_partition"], dead_letter["kafka_offset"]): dead_letter for dead_letter in dead_letters}
    assert len(found) == len(dead_letters), f"{len(dead_letters) - len(found)} duplicate dead letters"
    missing = [want[identity].kind for identity in want.keys() - found.keys()]
    too_many = [(found[identity]["reason"], found[identity]["detail"]) for identity in found.keys() - want.keys()]
    assert not missing and not too_many, f"not refused: {missing}; refused though valid: {too_many}"
    for identity, dead_letter in found.items():
        assert dead_letter["reason"] and dead_letter["received_at"] is not None
        assert dead_letter["kafka_topic"] == topic.name and dead_letter["source"] in sources
        assert (dead_letter["path"] is None) == (dead_letter["source"] != "files")
        assert holds(dead_letter["value"], want[identity].raw or b""), want[identity].kind


def holds(value: bytes, raw: bytes) -> bool:
    """The bytes, the line around them, or what PostgreSQL made of them."""
    return value == raw or raw in value or json.loads(value) == json.loads(raw)


def test_landed_rows_match_the_oracle(lakes, source_name, topic, database):
    topic.produce(weather([date(2026, 1, 15), AUTUMN], CITIES[:2], forecasts=1), kinds=CARRIED)
    source = Source(source_name, lake_of(lakes, "local", topic, database, TZ="America/New_York"), topic)
    source.transfer()
    said = source.land().stdout
    assert f"{len(topic.records)} messages landed, {len(topic.bad)} refused, 0 skipped" in said
    must_hold(source.lake, topic, [source_name])


def test_repeated_landing_adds_later_messages_only(source, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=CARRIED[:2])
    source.transfer()
    source.land()
    before = versions(source.lake)
    assert "0 messages landed, 0 refused" in source.land().stdout
    assert versions(source.lake) == before
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]), kinds=CARRIED[2:])
    source.transfer()
    assert "288 messages landed, 2 refused" in source.land().stdout
    must_hold(source.lake, topic, [source.name])


@pytest.mark.parametrize("first", SOURCES)
def test_message_from_several_sources_lands_once(lakes, topic, database, first):
    """By turns, each landing finds messages that others have landed and new ones."""
    lake = lake_of(lakes, "local", topic, database)
    sources = {source_name: Source(source_name, lake, topic) for source_name in SOURCES}
    one, other = (source_name for source_name in SOURCES if source_name != first)
    records = weather([date(2026, 1, 15)], CITIES[:2], forecasts=1)
    for turn, bad in enumerate(CARRIED):
        topic.produce(records[turn::4], kinds=[bad])
        for source in sources.values():
            source.transfer()
        sources[[first, one, first, other][turn]].land()
        must_hold(lake, topic, SOURCES)
    for source in sources.values():
        assert "0 messages landed, 0 refused" in source.land().stdout
    must_hold(lake, topic, SOURCES)


def test_kill_loses_and_duplicates_no_message(lakes, kind, source_name, topic, database, figures):
    chance = random.Random(9)
    small = {"ISOBAR__LAND__ROWS_MAX": "40", "ISOBAR__LAND__INTERVAL": "50ms"}
    source = Source(source_name, lake_of(lakes, kind, topic, database, **small), topic)
    with producing_to(source):
        for day in day_range(date(2026, 1, 1), KILLS):
            if source_name == "files":
                topic.produce(weather([day], CITIES[:2], forecasts=1), kinds=CARRIED, seed=day.day)
                source.transfer()
            faults.kill_some_time_after("a commit", source.lake.commits, source.start, chance)
            landed = source.lake.identities()
            assert len(landed) == len(set(landed))
    source.transfer()
    source.land()
    must_hold(source.lake, topic, [source_name])
    nothing_lies_about(source.lake)
    figures.record(
        f"kill -9 of land from {source_name}, {kind}",
        f"{KILLS} kills, {len(topic.records)} rows: 0 lost, 0 double, 0 files left behind",
    )


@contextlib.contextmanager
def producing_to(source: Source) -> Iterator[None]:
    """Produces messages during the block. A landing reads only the files that exist at its start."""
    with contextlib.ExitStack() as stack:
        if source.name == "postgres":
            stack.enter_context(source.lake.isobar.start("consume"))
        if source.name != "files":
            stack.enter_context(producing(source.topic, PER_SECOND))
        yield


def test_sigterm_commits_the_buffer(lakes, source_name, topic, database):
    """The interval has not passed, and the buffer has too few rows for a commit."""
    lake = lake_of(lakes, "local", topic, database, ISOBAR__LAND__INTERVAL="1h")
    source = Source(source_name, lake, topic)
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50], kinds=CARRIED[:1])
    source.transfer()
    with source.start() as process:
        in_hand = 'isobar_landing_waiting_rows{table="weather"}'
        web = web_of(process)
        eventually(lambda: web.metric(in_hand) == 50 or count(lake) == 50, "the messages", TIMEOUT_S)
        assert end(process) == 0, process.said()
    must_hold(lake, topic, [source_name])


@pytest.mark.parametrize(
    "source_name, server, says",
    [
        ("files", "namenode", "cannot be reached"),
        ("kafka", "namenode", "cannot be reached"),
        ("kafka", "kafka", "no Kafka broker answers"),
        ("postgres", "postgres", "no PostgreSQL answers"),
    ],
)
def test_unavailable_server_is_reported_and_retried(lakes, stack, topic, database, source_name, server, says):
    quick = {"ISOBAR__LAND__INTERVAL": "200ms", "ISOBAR__HDFS__TIMEOUT": "3s"}
    lake = lake_of(lakes, "hdfs", topic, database, **quick)
    source = Source(source_name, lake, topic)
    first, second = weather([date(2026, 1, 15)], CITIES[:1])[:20], weather([date(2026, 1, 16)], CITIES[:1])[:20]
    topic.produce(first)
    source.transfer()
    with source.start() as process:
        web = web_of(process)
        rows = 'isobar_landed_rows_total{table="weather"}'
        restarts = f'isobar_landing_restarts_total{{topic="{topic.name}"}}'
        eventually(lambda: web.metric(rows) == 20, "the first rows", TIMEOUT_S)
        web.wait_until_ready()
        stack.kill(server)
        status, reason = web.get("/readyz")
        assert status == 503 and says in reason, reason
        assert web.get("/healthz") == (200, "ok\n")
        if server == "namenode" and source_name == "kafka":
            topic.produce(second)
        if server != "kafka":
            eventually(lambda: web.metric(restarts) >= 1, "a restart", TIMEOUT_S)
        stack.restore()
        if len(topic.records) == 20:
            topic.produce(second)
            source.transfer()
        web.wait_until_ready(TIMEOUT_S)
        eventually(lambda: web.metric(rows) == 40, "the other rows", TIMEOUT_S)
        assert end(process) == 0, process.said()
    must_hold(lake, topic, [source_name])


@pytest.fixture
def from_postgres(lakes, topic, database) -> Source:
    return Source("postgres", lake_of(lakes, "local", topic, database), topic)


def test_postgresql_lands_the_same_messages_as_kafka(from_postgres, topic):
    """Including dead letters of `consume`."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2], forecasts=1), kinds=OF_MESSAGES)
    from_postgres.transfer()
    from_postgres.land()
    must_hold(from_postgres.lake, topic, ["postgres"])
    assert "0 messages landed, 0 refused" in Source("kafka", from_postgres.lake, topic).land().stdout
    must_hold(from_postgres.lake, topic, ["postgres"])


def test_message_that_postgresql_refuses_lands_from_kafka(from_postgres, topic):
    [good, bad, *_] = weather([date(2026, 1, 15)], CITIES[:1])
    topic.produce([good])
    topic.produce_raw(bad, encode(bad.value).replace(b'"stations"', rb'"\u0000"'))
    from_postgres.transfer()
    assert "1 message landed, 0 refused" in from_postgres.land().stdout
    assert "1 message landed, 0 refused" in Source("kafka", from_postgres.lake, topic).land().stdout


def test_rows_that_fill_gaps_land_without_rereading(from_postgres, topic, database):
    """The legacy consumer left gaps. Below the position of `consume` there are none, and rows are not read again."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=CARRIED)
    database.legacy_table(topic.records[1::2])
    assert "144 messages landed, 0 refused, 0 skipped from 144 rows" in from_postgres.land().stdout
    assert "0 messages landed, 0 refused, 144 skipped from 144 rows" in from_postgres.land().stdout
    from_postgres.transfer()
    assert "144 messages landed, 4 refused, 144 skipped from 292 rows" in from_postgres.land().stdout
    assert "0 messages landed, 0 refused, 0 skipped from 0 rows" in from_postgres.land().stdout
    must_hold(from_postgres.lake, topic, ["postgres"])


def test_service_lands_new_rows_and_added_partitions(lakes, topic, database):
    lake = lake_of(lakes, "local", topic, database, ISOBAR__LAND__INTERVAL="100ms")
    source = Source("postgres", lake, topic)
    days = day_range(date(2026, 1, 15), 3)
    topic.produce(weather(days[:1], CITIES[:6])[:60])
    database.legacy_table(topic.records[5:30])
    with source.start() as process:
        web = web_of(process)
        eventually(lambda: count(lake) == 25, "the legacy rows", TIMEOUT_S)
        source.transfer()
        eventually(lambda: count(lake) == 60, "the rows of consume", TIMEOUT_S)
        topic.add_partitions(2)
        topic.produce(weather(days[1:2], CITIES[:6])[:60], kinds=CARRIED)
        source.transfer()
        assert {record.partition for record in topic.records} - {0, 1, 2}, "nothing is in the new ones"
        eventually(lambda: count(lake) == 120, "the rows of all partitions", TIMEOUT_S)
        lag = 'isobar_postgres_lag{{topic="{}",topic_partition="{}"}}'
        lags = {lag.format(topic.name, record.partition) for record in topic.records}
        eventually(lambda: {web.metrics().get(lag) for lag in lags} == {0.0}, "nothing left", TIMEOUT_S)
        assert end(process) == 0, process.said()
    must_hold(lake, topic, ["postgres"])


def test_position_belongs_to_one_database(lakes, postgres, topic):
    """Another database may have messages that the first one lacks."""
    records = weather([date(2026, 1, 15)], CITIES[:2])
    topic.produce(records)
    first, second = Database(postgres), Database(postgres)
    lake = lake_of(lakes, "local", topic, first)
    source = Source("postgres", lake, topic)
    source.transfer()
    first.run("DELETE FROM weather WHERE mod(msg_offset, 2) = 0")
    source.land()
    moved = Lake(lake.place, lake.isobar.having(**second.variables))
    Source("postgres", moved, topic).transfer()
    Source("postgres", moved, topic).land()
    must_hold(lake, topic, ["postgres"])


def test_rows_of_a_recreated_topic_are_refused(from_postgres, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    from_postgres.transfer()
    Source("kafka", from_postgres.lake, topic).land()
    before = versions(from_postgres.lake)
    database.run("UPDATE isobar.topics SET topic_id = gen_random_uuid()")
    from_postgres.lake.isobar.refused(*from_postgres.arguments, "--once", code=1, says=[topic.name, RECREATED])
    assert versions(from_postgres.lake) == before


def test_greatest_offset_does_not_stop_a_landing(lakes, source_name, topic, database):
    """No message of Kafka has it, but a row or a line may."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    greatest = dataclasses.replace(topic.records[0], partition=0, offset=2**63 - 1)
    lake = lake_of(lakes, "local", topic, database)
    source = Source(source_name, lake, topic)
    source.transfer()
    database.legacy_table([greatest]) if not database.has("weather") else database.run(
        "INSERT INTO weather SELECT date_time, 9223372036854775807, 0, value, topic, event_time FROM weather LIMIT 1"
    )
    lake.put({"dt=2026-01-15/weather_greatest.json": export_line(greatest) + b"\n"})
    source.land()
    if source_name == "kafka":
        lake.land()
    for again in SOURCES:
        path = [lake.place.export_url] if again == "files" else []
        lake.isobar.ok("land", "--from", again, *path, "--once")
    landed = lake.identities()
    assert landed == oracle.identities([*topic.records, greatest])
    assert "rows exported" in lake.isobar.ok("export", "--once").stdout


def test_table_in_another_schema_is_named(lakes, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    lake = lake_of(lakes, "local", topic, database)
    commands = [["land", "--from", "postgres", "--once"], ["consume", "--once"], ["export", "--once"], ["check"]]

    def must_be_named(path: str, says: list[str]) -> None:
        database.run(f"ALTER DATABASE {database.name} SET search_path = {path}")
        for command in commands:
            lake.isobar.refused(*command, code=1, says=says)

    database.run("CREATE SCHEMA decoy")
    database.run("CREATE SCHEMA elsewhere")
    database.legacy_table(topic.records[:10])
    # Before the migration: search_path finds no table, or an empty one before the one with rows.
    must_be_named("elsewhere", ["public", "search_path"])
    assert not database.rows("SELECT FROM pg_namespace WHERE nspname = 'isobar'")
    database.run("CREATE TABLE decoy.weather (LIKE public.weather)")
    commands.pop()  # the catalogue shows no fault yet
    must_be_named("decoy, public", ["public", "decoy", "search_path"])
    commands.append(["check"])
    database.run(f"ALTER DATABASE {database.name} SET search_path = public, decoy")
    lake.isobar.ok("consume", "--once")
    # And after the migration, whatever form the other table has.
    must_be_named("decoy, public", ["public", "decoy", "search_path"])
    database.run("DROP TABLE decoy.weather")
    database.run("CREATE TABLE decoy.weather (LIKE public.weather INCLUDING ALL)")
    must_be_named("decoy, public", ["public", "decoy", "search_path"])
    must_be_named("elsewhere", ["public", "search_path"])
    database.run(f"ALTER DATABASE {database.name} RESET search_path")
    for command in commands:
        lake.isobar.ok(*command)
    assert lake.identities() == oracle.identities(topic.records)
    assert database.rows("SELECT count(*) FROM decoy.weather") == [(0,)]


def test_foreign_table_of_the_same_name_is_named(lakes, topic, database):
    database.run("CREATE TABLE weather (day DATE, temp REAL)")
    lake = lake_of(lakes, "local", topic, database)
    for command in [["land", "--from", "postgres", "--once"], ["consume", "--once"], ["export", "--once"], ["check"]]:
        lake.isobar.refused(*command, code=1, says=["weather", "public", "date_time, msg_offset, partition, value"])


def test_user_with_read_permission_lands_existing_tables(from_postgres, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    from_postgres.transfer()
    reader = f"reader_{database.name}"
    with database.as_administrator() as connection:
        connection.execute(f"CREATE ROLE {reader} LOGIN PASSWORD 'only to read'")
        for granted in ["USAGE ON SCHEMA isobar", "SELECT ON weather", "SELECT ON ALL TABLES IN SCHEMA isobar"]:
            connection.execute(f"GRANT {granted} TO {reader}")
    isobar = from_postgres.lake.isobar.having(POSTGRES_USER=reader, POSTGRES_PASSWORD="only to read")
    isobar.ok(*from_postgres.arguments, "--once")
    must_hold(from_postgres.lake, topic, ["postgres"])


def test_invalid_arguments_for_postgresql_are_refused(lakes, topic, database):
    lake = lake_of(lakes, "local", topic, database)
    land = ["land", "--from", "postgres", "--once"]
    lake.isobar.refused(*land, "somewhere", code=2, says=["somewhere", "--topic", "POSTGRES_HOST"])
    lake.isobar.refused(*land, "--accept-loss", code=2, says=["--accept-loss", "Kafka"])
    nowhere = lake.isobar.having(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1")
    nowhere.refused(*land, code=1, says=["127.0.0.1:1", "POSTGRES_HOST"])
    assert lake.place.names("lake") == []
    assert not database.has("weather")
