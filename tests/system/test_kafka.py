"""Landing from Kafka: each message once, whatever is killed, restarted or landed by another road."""

import random
import signal
import subprocess
import threading
import time
from datetime import date

import pytest

from support import delta, oracle
from support.fixtures import LONG
from support.lake import DAILY_TABLE, Lake
from support.topic import PARTS, WHOLE, Topic, compare_dead_letters, weather
from support.weather_data import AUTUMN, CITIES, SPRING, day_range, export_line

KILLS = 30 if LONG else 4
RESTARTS = 5 if LONG else 1
TABLES = ["weather", "weather_forecast", "dead_letters"]
PATIENCE_S = 120


@pytest.fixture
def topic(kafka):
    return Topic(kafka)


def lake_of(lakes, kind: str, topic: Topic, **variables: str) -> Lake:
    return lakes.new(kind, BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name, **variables)


def land(lake: Lake) -> str:
    return lake.isobar.ok("land", "--from", "kafka", "--once").stdout


def must_hold(lake: Lake, topic: Topic) -> None:
    assert lake.identities() == oracle.identities(topic.records)
    oracle.compare_observations(lake.rows("weather"), topic.records)
    oracle.compare_forecasts(lake.rows("weather_forecast"), topic.records)
    compare_dead_letters(lake.rows("dead_letters"), topic.bad, topic.name)


def versions(lake: Lake) -> list[int]:
    return [delta.versions_seen(lake.place, table) for table in TABLES]


def wait_until(condition, what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {patience_s} s"
        time.sleep(0.05)


def end(process: subprocess.Popen, number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(timeout=PATIENCE_S)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_tables_and_aggregates_are_what_the_oracle_says(lakes, kind, topic, zone, figures):
    days = [date(2026, 1, 15), SPRING, AUTUMN]
    topic.produce(weather(days, CITIES[:3], forecasts=2), kinds=WHOLE + PARTS)
    lake = lake_of(lakes, kind, topic, TZ=zone)
    land(lake)
    must_hold(lake, topic)
    lake.aggregate()
    oracle.compare_daily(lake.rows(DAILY_TABLE), oracle.daily_weather_by_city(topic.records))
    figures.record(
        f"landed from Kafka as the oracle says, {kind}, TZ={zone}",
        f"{len(topic.records)} rows, {len(topic.bad)} dead letters, {len(days)} days",
    )


def test_a_second_landing_goes_on_where_the_first_ended(lakes, kind, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=WHOLE[:2])
    lake = lake_of(lakes, kind, topic)
    land(lake)
    before = versions(lake)
    assert "0 messages landed" in land(lake)
    assert versions(lake) == before
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]), kinds=PARTS[:2])
    land(lake)
    must_hold(lake, topic)


@pytest.mark.parametrize("first", ["files", "kafka"])
def test_one_message_by_two_roads_is_one_row(lakes, kind, topic, first):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2], forecasts=1))
    lake = lake_of(lakes, kind, topic)
    lines = [export_line(record) + b"\n" for record in topic.records]
    # The export lacks what came last, and Kafka has all of it.
    lake.put({"dt=2026-01-15/weather_1.json": b"".join(lines[: len(lines) * 2 // 3])})
    for road in [first, "kafka" if first == "files" else "files"]:
        if road == "files":
            lake.land()
        else:
            land(lake)
    must_hold(lake, topic)


def test_nothing_is_lost_or_doubled_by_kill_nine(lakes, kind, topic, figures):
    chance = random.Random(9)
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="100ms")
    records = weather(day_range(date(2026, 1, 1), 60 if LONG else 12), CITIES[:3])
    done = threading.Event()
    producing = threading.Thread(target=produce_slowly, args=(topic, records, done))
    producing.start()
    try:
        for _ in range(KILLS):
            kill_after_a_commit(lake, chance)
    finally:
        done.set()
        producing.join()
    land(lake)
    must_hold(lake, topic)
    figures.record(
        f"kill -9 of land from Kafka, {kind}", f"{KILLS} kills, {len(topic.records)} rows: 0 lost, 0 double"
    )


def produce_slowly(topic: Topic, records: list, done: threading.Event) -> None:
    """About 2,000 messages a second, until told to end."""
    for start in range(0, len(records), 200):
        if done.is_set():
            return
        topic.produce(records[start : start + 200], kinds=["cut short"], seed=start)
        time.sleep(0.1)
    # The kills need new commits for as long as they last.
    while not done.is_set():
        topic.produce(records[:20])
        time.sleep(0.1)


def kill_after_a_commit(lake: Lake, chance: random.Random) -> None:
    """Kill a landing some random time after a new commit of it."""
    before = delta.versions_seen(lake.place, "weather")
    process = lake.isobar.start("land", "--from", "kafka")
    try:
        wait_until(lambda: delta.versions_seen(lake.place, "weather") > before, "a commit")
        time.sleep(chance.random() * 0.3)
        assert process.poll() is None, "land ended by itself"
    finally:
        process.kill()
        process.wait()


def test_a_quiet_topic_lands_and_sigterm_lands_what_is_in_hand(lakes, kind, topic):
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="300ms")
    process = lake.isobar.start("land", "--from", "kafka")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:5])
    wait_until(lambda: count(lake) == 5, "the rows of a quiet topic")
    assert end(process) == 0
    # With an interval that never comes, only the end can land them.
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="1h")
    process = lake.isobar.start("-v", "land", "--from", "kafka")
    wait_until(lambda: all(version > 0 for version in versions(lake)) or reads(process), "the start of a landing")
    assert end(process) == 0
    land(lake)
    must_hold(lake, topic)


def count(lake: Lake) -> int:
    if "weather" not in lake.isobar.ok("table", "list").stdout:
        return 0
    return lake.isobar.scalar("SELECT count(*) AS n FROM weather")


def reads(process: subprocess.Popen) -> bool:
    """Whether it has been running for a while; what it has in hand by then differs, and does not matter."""
    time.sleep(1)
    return process.poll() is None


@pytest.mark.parametrize("servers", [["kafka"], ["namenode"]], ids="+".join)
def test_a_landing_outlives_the_restart_of_servers(lakes, stack, topic, servers, figures):
    lake = lake_of(lakes, "hdfs", topic, ISOBAR__LAND__INTERVAL="200ms", ISOBAR__HDFS__TIMEOUT="3s")
    process = lake.isobar.start("land", "--from", "kafka")
    for n in range(RESTARTS):
        records = weather([date(2026, 1, 1 + n)], CITIES[:2])
        topic.produce(records[:150])
        wait_until(lambda: all(version > 0 for version in versions(lake)), "the first commits")
        stack.kill(*servers)
        stack.start(*servers)
        topic.produce(records[150:])
        wait_until(lambda: len(lake.identities()) >= len(topic.records), "all rows after a restart")
        assert process.poll() is None
    assert end(process) == 0
    must_hold(lake, topic)
    figures.record(
        f"restart of {'+'.join(servers)} under land", f"{RESTARTS} times, {len(topic.records)} rows: 0 lost, 0 double"
    )


def test_a_recreated_topic_is_refused_and_nothing_written(lakes, kind, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    lake = lake_of(lakes, kind, topic)
    land(lake)
    before = versions(lake)
    topic.delete()
    wait_until(lambda: topic.name not in topic.admin.list_topics(timeout=10).topics, "the end of the topic")
    topic.create()
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    lake.isobar.refused(
        "land", "--from", "kafka", "--once", code=1, says=[topic.name, "deleted and created again"], within_s=30
    )
    assert versions(lake) == before


def test_a_topic_that_is_recreated_under_a_landing_stops_it(lakes, topic):
    lake = lake_of(lakes, "local", topic, ISOBAR__LAND__INTERVAL="200ms")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    process = lake.isobar.start("land", "--from", "kafka")
    wait_until(lambda: count(lake) == 100, "the first rows")
    before = versions(lake)
    topic.delete()
    wait_until(lambda: topic.name not in topic.admin.list_topics(timeout=10).topics, "the end of the topic")
    topic.create()
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    assert process.wait(timeout=30) == 1
    assert versions(lake) == before


def test_partitions_that_are_added_under_a_landing_are_read_from_their_beginning(lakes, kind, topic):
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="200ms")
    days, cities = day_range(date(2026, 1, 15), 4), CITIES[:6]
    topic.produce(weather(days[:1], cities)[:100], kinds=WHOLE[:2])
    process = lake.isobar.start("land", "--from", "kafka")
    try:
        wait_until(lambda: count(lake) == 100, "the first rows")
        old = topic.partitions
        topic.add_partitions(2)
        # Before they are noticed, and while they are.
        for day in days[1:]:
            topic.produce(weather([day], cities)[:100], kinds=PARTS[:2])
        assert {record.partition for record in topic.records} - set(range(old)), "nothing is in the new ones"
        wait_until(lambda: len(lake.identities()) >= len(topic.records), "the rows of all partitions")
        topic.produce(weather(days[:1], cities)[100:200])
        wait_until(lambda: len(lake.identities()) >= len(topic.records), "what came after")
        assert end(process) == 0, process.said()
    finally:
        process.kill()
        process.wait()
    must_hold(lake, topic)


def test_offsets_lost_to_retention_are_named_until_the_loss_is_accepted(lakes, kind, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]))
    lake = lake_of(lakes, kind, topic)
    land(lake)
    before, landed = versions(lake), list(topic.records)
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]))
    partition = landed[-1].partition
    next_offset = 1 + max(record.offset for record in landed if record.partition == partition)
    topic.delete_before({partition: next_offset + 10})
    lake.isobar.refused(
        "land", "--from", "kafka", "--once", code=1,
        says=[topic.name, f"partition {partition}", str(next_offset), str(next_offset + 10), "--accept-loss"],
    )  # fmt: skip
    assert versions(lake) == before
    lake.isobar.ok("land", "--from", "kafka", "--once", "--accept-loss")
    gone = range(next_offset, next_offset + 10)
    kept = [record for record in topic.records if record.partition != partition or record.offset not in gone]
    assert lake.identities() == oracle.identities(kept)


def test_check_asks_the_brokers_for_the_topics_of_the_tables(lakes, topic):
    outcome = lake_of(lakes, "local", topic).isobar.ok("check")
    assert f"ok      kafka    {topic.servers}  topic {topic.name}, 3 partitions\n" in outcome.stdout
    missing = lakes.new("local", BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME="not-there").isobar
    create = f"kafka-topics.sh --bootstrap-server {topic.servers} --create --topic not-there"
    missing.refused("check", code=1, says=["there is no topic", create])
    away = lakes.new("local", BOOTSTRAP_SERVERS="127.0.0.1:1").isobar
    away.refused("check", code=1, says=["no Kafka broker answers at 127.0.0.1:1", "BOOTSTRAP_SERVERS"])
    # A topic alone is no Kafka: export files are of one too.
    assert "kafka" not in lakes.new("local", TOPIC_NAME=topic.name).isobar.ok("check").stdout


def test_no_broker_no_topic_and_a_path_are_refused_by_name(lakes, kafka):
    lake = lakes.new("local", BOOTSTRAP_SERVERS="127.0.0.1:1")
    lake.isobar.refused(
        "land", "--from", "kafka", "--once", code=1, says=["127.0.0.1:1", "BOOTSTRAP_SERVERS"], within_s=30
    )
    lake = lakes.new("local", BOOTSTRAP_SERVERS=kafka["BOOTSTRAP_SERVERS"], TOPIC_NAME="not-there")
    lake.isobar.refused("land", "--from", "kafka", "--once", code=1, says=['"not-there"', "TOPIC_NAME"])
    lake.isobar.refused("land", "--from", "kafka", "somewhere", "--once", code=1, says=["somewhere", "--topic"])
    assert lake.place.names("lake") == []
