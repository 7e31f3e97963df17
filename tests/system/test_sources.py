"""What holds for every source of a landing: files, Kafka and PostgreSQL keep one contract, each alone and all by turns."""

import contextlib
import dataclasses
import json
import random
from collections.abc import Iterator
from datetime import date

import pytest

from support import faults, oracle
from support.binary import PATIENCE_S
from support.database import Database
from support.fixtures import LONG
from support.lake import Lake
from support.malformed import OF_MESSAGES
from support.roads import SOURCES, Road, lake_of
from support.topic import Topic, weather
from support.weather_data import AUTUMN, CITIES, day_range, encode, export_line
from support.web import eventually, web_of
from test_kafka import RECREATED, count, end, producing, versions
from test_kill import nothing_lies_about

KILLS = 30 if LONG else 4
# How messages come while landings are killed.
PER_SECOND = 2_000 if LONG else 500
# A few that every road can carry.
CARRIED = ["no weather", "Kelvin", "value is an empty object", "value is the API's 429"]


@pytest.fixture(params=SOURCES)
def source(request) -> str:
    return request.param


@pytest.fixture
def road(lakes, source, topic, database) -> Road:
    return Road(source, lake_of(lakes, "local", topic, database), topic)


def must_hold(lake: Lake, topic: Topic, sources: list[str]) -> None:
    """Every message once: a good one in the tables, a bad one as a dead letter of one of these sources."""
    assert lake.identities() == oracle.identities(topic.records)
    oracle.compare_observations(lake.rows("weather"), topic.records)
    oracle.compare_forecasts(lake.rows("weather_forecast"), topic.records)
    letters = lake.rows("dead_letters")
    want = {bad.identity: bad for bad in topic.bad}
    found = {(letter["kafka_partition"], letter["kafka_offset"]): letter for letter in letters}
    assert len(found) == len(letters), f"{len(letters) - len(found)} messages stand twice"
    missing = [want[identity].kind for identity in want.keys() - found.keys()]
    too_many = [(found[identity]["reason"], found[identity]["detail"]) for identity in found.keys() - want.keys()]
    assert not missing and not too_many, f"not refused: {missing}; refused though valid: {too_many}"
    for identity, letter in found.items():
        assert letter["reason"] and letter["received_at"] is not None
        assert letter["kafka_topic"] == topic.name and letter["source"] in sources
        assert (letter["path"] is None) == (letter["source"] != "files")
        assert carries(letter["value"], want[identity].raw or b""), want[identity].kind


def carries(value: bytes, raw: bytes) -> bool:
    """The bytes, the line around them, or what PostgreSQL made of them."""
    return value == raw or raw in value or json.loads(value) == json.loads(raw)


def test_what_lands_is_what_the_oracle_says(lakes, source, topic, database):
    topic.produce(weather([date(2026, 1, 15), AUTUMN], CITIES[:2], forecasts=1), kinds=CARRIED)
    road = Road(source, lake_of(lakes, "local", topic, database, TZ="America/New_York"), topic)
    road.bring()
    said = road.land().stdout
    assert f"{len(topic.records)} messages landed, {len(topic.bad)} refused, 0 skipped" in said
    must_hold(road.lake, topic, [source])


def test_landing_again_changes_nothing_and_what_comes_later_lands(road, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=CARRIED[:2])
    road.bring()
    road.land()
    before = versions(road.lake)
    assert "0 messages landed, 0 refused" in road.land().stdout
    assert versions(road.lake) == before
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]), kinds=CARRIED[2:])
    road.bring()
    assert "288 messages landed, 2 refused" in road.land().stdout
    must_hold(road.lake, topic, [road.source])


@pytest.mark.parametrize("first", SOURCES)
def test_a_message_by_several_roads_stands_once(lakes, topic, database, first):
    """By turns, each landing finds what others have landed and something that nobody has."""
    lake = lake_of(lakes, "local", topic, database)
    roads = {source: Road(source, lake, topic) for source in SOURCES}
    one, other = (source for source in SOURCES if source != first)
    records = weather([date(2026, 1, 15)], CITIES[:2], forecasts=1)
    for turn, bad in enumerate(CARRIED):
        topic.produce(records[turn::4], kinds=[bad])
        for road in roads.values():
            road.bring()
        roads[[first, one, first, other][turn]].land()
        must_hold(lake, topic, SOURCES)
    for road in roads.values():
        assert "0 messages landed, 0 refused" in road.land().stdout
    must_hold(lake, topic, SOURCES)


def test_nothing_is_lost_or_doubled_by_kill_nine(lakes, kind, source, topic, database, figures):
    chance = random.Random(9)
    small = {"ISOBAR__LAND__ROWS_MAX": "40", "ISOBAR__LAND__INTERVAL": "50ms"}
    road = Road(source, lake_of(lakes, kind, topic, database, **small), topic)
    with coming(road):
        for day in day_range(date(2026, 1, 1), KILLS):
            if source == "files":
                topic.produce(weather([day], CITIES[:2], forecasts=1), kinds=CARRIED, seed=day.day)
                road.bring()
            faults.kill_some_time_after("a commit", road.lake.commits, road.start, chance)
            landed = road.lake.identities()
            assert len(landed) == len(set(landed))
    road.bring()
    road.land()
    must_hold(road.lake, topic, [source])
    nothing_lies_about(road.lake)
    figures.record(
        f"kill -9 of land from {source}, {kind}",
        f"{KILLS} kills, {len(topic.records)} rows: 0 lost, 0 double, 0 files left behind",
    )


@contextlib.contextmanager
def coming(road: Road) -> Iterator[None]:
    """Messages come for as long as the block lasts; files are read only as they are when a landing starts."""
    with contextlib.ExitStack() as stack:
        if road.source == "postgres":
            stack.enter_context(road.lake.isobar.start("consume"))
        if road.source != "files":
            stack.enter_context(producing(road.topic, PER_SECOND))
        yield


def test_sigterm_commits_what_is_in_hand(lakes, source, topic, database):
    """Nothing else can: neither is the time come nor are there enough rows."""
    lake = lake_of(lakes, "local", topic, database, ISOBAR__LAND__INTERVAL="1h")
    road = Road(source, lake, topic)
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50], kinds=CARRIED[:1])
    road.bring()
    with road.start() as process:
        in_hand = 'isobar_landing_waiting_rows{table="weather"}'
        web = web_of(process)
        eventually(lambda: web.metric(in_hand) == 50 or count(lake) == 50, "the messages", PATIENCE_S)
        assert end(process) == 0, process.said()
    must_hold(lake, topic, [source])


@pytest.mark.parametrize(
    "source, server, says",
    [
        ("files", "namenode", "cannot be reached"),
        ("kafka", "namenode", "cannot be reached"),
        ("kafka", "kafka", "no Kafka broker answers"),
        ("postgres", "postgres", "no PostgreSQL answers"),
    ],
)
def test_a_server_that_is_away_is_told_and_outlived(lakes, stack, topic, database, source, server, says):
    quick = {"ISOBAR__LAND__INTERVAL": "200ms", "ISOBAR__HDFS__TIMEOUT": "3s"}
    lake = lake_of(lakes, "hdfs", topic, database, **quick)
    road = Road(source, lake, topic)
    first, second = weather([date(2026, 1, 15)], CITIES[:1])[:20], weather([date(2026, 1, 16)], CITIES[:1])[:20]
    topic.produce(first)
    road.bring()
    with road.start() as process:
        web = web_of(process)
        rows = 'isobar_landed_rows_total{table="weather"}'
        restarts = f'isobar_landing_restarts_total{{topic="{topic.name}"}}'
        eventually(lambda: web.metric(rows) == 20, "the first rows", PATIENCE_S)
        web.wait_until_ready()
        stack.kill(server)
        status, reason = web.get("/readyz")
        assert status == 503 and says in reason, reason
        assert web.get("/healthz") == (200, "ok\n")
        if server == "namenode" and source == "kafka":
            topic.produce(second)
        if server != "kafka":
            eventually(lambda: web.metric(restarts) >= 1, "it begins anew", PATIENCE_S)
        stack.restore()
        if len(topic.records) == 20:
            topic.produce(second)
            road.bring()
        web.wait_until_ready(PATIENCE_S)
        eventually(lambda: web.metric(rows) == 40, "the other rows", PATIENCE_S)
        assert end(process) == 0, process.said()
    must_hold(lake, topic, [source])


@pytest.fixture
def from_postgres(lakes, topic, database) -> Road:
    return Road("postgres", lake_of(lakes, "local", topic, database), topic)


def test_the_road_by_postgresql_lands_what_the_road_from_kafka_lands(from_postgres, topic):
    """Also what never became a row there."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2], forecasts=1), kinds=OF_MESSAGES)
    from_postgres.bring()
    from_postgres.land()
    must_hold(from_postgres.lake, topic, ["postgres"])
    assert "0 messages landed, 0 refused" in Road("kafka", from_postgres.lake, topic).land().stdout
    must_hold(from_postgres.lake, topic, ["postgres"])


def test_what_postgresql_alone_cannot_hold_is_left_to_kafka(from_postgres, topic):
    [good, bad, *_] = weather([date(2026, 1, 15)], CITIES[:1])
    topic.produce([good])
    topic.produce_raw(bad, encode(bad.value).replace(b'"stations"', rb'"\u0000"'))
    from_postgres.bring()
    assert "1 message landed, 0 refused" in from_postgres.land().stdout
    assert "1 message landed, 0 refused" in Road("kafka", from_postgres.lake, topic).land().stdout


def test_rows_that_fill_gaps_land_and_nothing_is_read_again(from_postgres, topic, database):
    """The older consumer left gaps. Where `consume` has been there are none, and no reason to look again."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=CARRIED)
    database.older_table(topic.records[1::2])
    assert "144 messages landed, 0 refused, 0 skipped from 144 rows" in from_postgres.land().stdout
    assert "0 messages landed, 0 refused, 144 skipped from 144 rows" in from_postgres.land().stdout
    from_postgres.bring()
    assert "144 messages landed, 4 refused, 144 skipped from 292 rows" in from_postgres.land().stdout
    assert "0 messages landed, 0 refused, 0 skipped from 0 rows" in from_postgres.land().stdout
    must_hold(from_postgres.lake, topic, ["postgres"])


def test_a_service_lands_rows_that_come_and_partitions_that_are_added(lakes, topic, database):
    lake = lake_of(lakes, "local", topic, database, ISOBAR__LAND__INTERVAL="100ms")
    road = Road("postgres", lake, topic)
    days = day_range(date(2026, 1, 15), 3)
    topic.produce(weather(days[:1], CITIES[:6])[:60])
    database.older_table(topic.records[5:30])
    with road.start() as process:
        web = web_of(process)
        eventually(lambda: count(lake) == 25, "the older rows", PATIENCE_S)
        road.bring()
        eventually(lambda: count(lake) == 60, "the rows of consume", PATIENCE_S)
        topic.add_partitions(2)
        topic.produce(weather(days[1:2], CITIES[:6])[:60], kinds=CARRIED)
        road.bring()
        assert {record.partition for record in topic.records} - {0, 1, 2}, "nothing is in the new ones"
        eventually(lambda: count(lake) == 120, "the rows of all partitions", PATIENCE_S)
        lag = 'isobar_postgres_lag{{topic="{}",topic_partition="{}"}}'
        lags = {lag.format(topic.name, record.partition) for record in topic.records}
        eventually(lambda: {web.metrics().get(lag) for lag in lags} == {0.0}, "nothing left", PATIENCE_S)
        assert end(process) == 0, process.said()
    must_hold(lake, topic, ["postgres"])


def test_a_position_is_of_one_database(lakes, postgres, topic):
    """Another one may have what the first had lost."""
    records = weather([date(2026, 1, 15)], CITIES[:2])
    topic.produce(records)
    first, second = Database(postgres), Database(postgres)
    lake = lake_of(lakes, "local", topic, first)
    road = Road("postgres", lake, topic)
    road.bring()
    first.run("DELETE FROM weather WHERE mod(msg_offset, 2) = 0")
    road.land()
    moved = Lake(lake.place, lake.isobar.having(**second.variables))
    Road("postgres", moved, topic).bring()
    Road("postgres", moved, topic).land()
    must_hold(lake, topic, ["postgres"])


def test_rows_of_another_topic_of_the_name_are_refused(from_postgres, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    from_postgres.bring()
    Road("kafka", from_postgres.lake, topic).land()
    before = versions(from_postgres.lake)
    database.run("UPDATE isobar.topics SET topic_id = gen_random_uuid()")
    from_postgres.lake.isobar.refused(*from_postgres.arguments, "--once", code=1, says=[topic.name, RECREATED])
    assert versions(from_postgres.lake) == before


def test_the_greatest_offset_stops_no_landing(lakes, source, topic, database):
    """No message of Kafka has it; a row or a line may say that it is one."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    greatest = dataclasses.replace(topic.records[0], partition=0, offset=2**63 - 1)
    lake = lake_of(lakes, "local", topic, database)
    road = Road(source, lake, topic)
    road.bring()
    database.older_table([greatest]) if not database.has("weather") else database.run(
        "INSERT INTO weather SELECT date_time, 9223372036854775807, 0, value, topic, event_time FROM weather LIMIT 1"
    )
    lake.put({"dt=2026-01-15/weather_greatest.json": export_line(greatest) + b"\n"})
    road.land()
    if source == "kafka":
        lake.land()
    for again in SOURCES:
        path = [lake.place.export_url] if again == "files" else []
        lake.isobar.ok("land", "--from", again, *path, "--once")
    landed = lake.identities()
    assert landed == oracle.identities([*topic.records, greatest])
    assert "rows exported" in lake.isobar.ok("export", "--once").stdout


def test_a_table_of_the_same_name_in_another_schema_is_named(lakes, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    lake = lake_of(lakes, "local", topic, database)
    commands = [["land", "--from", "postgres", "--once"], ["consume", "--once"], ["export", "--once"], ["check"]]

    def must_be_named(path: str, says: list[str]) -> None:
        database.run(f"ALTER DATABASE {database.name} SET search_path = {path}")
        for command in commands:
            lake.isobar.refused(*command, code=1, says=says)

    database.run("CREATE SCHEMA decoy")
    database.run("CREATE SCHEMA elsewhere")
    database.older_table(topic.records[:10])
    # Before anything was taken over: none is found, or an empty one before the one that has rows.
    must_be_named("elsewhere", ["public", "search_path"])
    assert not database.rows("SELECT FROM pg_namespace WHERE nspname = 'isobar'")
    database.run("CREATE TABLE decoy.weather (LIKE public.weather)")
    commands.pop()  # nothing is wrong yet that a look at the catalogue could find
    must_be_named("decoy, public", ["public", "decoy", "search_path"])
    commands.append(["check"])
    database.run(f"ALTER DATABASE {database.name} SET search_path = public, decoy")
    lake.isobar.ok("consume", "--once")
    # And afterwards, whatever the other one looks like.
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


def test_a_table_of_the_name_that_is_no_table_of_the_pipeline_is_named(lakes, topic, database):
    database.run("CREATE TABLE weather (day DATE, temp REAL)")
    lake = lake_of(lakes, "local", topic, database)
    for command in [["land", "--from", "postgres", "--once"], ["consume", "--once"], ["export", "--once"], ["check"]]:
        lake.isobar.refused(*command, code=1, says=["weather", "public", "date_time, msg_offset, partition, value"])


def test_who_may_only_read_lands_tables_that_are_there(from_postgres, topic, database):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    from_postgres.bring()
    reader = f"reader_{database.name}"
    with database.as_administrator() as connection:
        connection.execute(f"CREATE ROLE {reader} LOGIN PASSWORD 'only to read'")
        for granted in ["USAGE ON SCHEMA isobar", "SELECT ON weather", "SELECT ON ALL TABLES IN SCHEMA isobar"]:
            connection.execute(f"GRANT {granted} TO {reader}")
    isobar = from_postgres.lake.isobar.having(POSTGRES_USER=reader, POSTGRES_PASSWORD="only to read")
    isobar.ok(*from_postgres.arguments, "--once")
    must_hold(from_postgres.lake, topic, ["postgres"])


def test_what_is_no_question_to_postgresql_is_refused_by_name(lakes, topic, database):
    lake = lake_of(lakes, "local", topic, database)
    land = ["land", "--from", "postgres", "--once"]
    lake.isobar.refused(*land, "somewhere", code=2, says=["somewhere", "--topic", "POSTGRES_HOST"])
    lake.isobar.refused(*land, "--accept-loss", code=2, says=["--accept-loss", "Kafka"])
    nowhere = lake.isobar.having(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1")
    nowhere.refused(*land, code=1, says=["127.0.0.1:1", "POSTGRES_HOST"])
    assert lake.place.names("lake") == []
    assert not database.has("weather")
