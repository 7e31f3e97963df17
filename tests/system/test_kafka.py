"""Landing from Kafka, beyond the contract of all sources (test_sources): each message once, also under faults of the topic."""

import contextlib
import itertools
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from operator import itemgetter

import pytest

from support import delta, faults, oracle
from support.binary import Process
from support.fixtures import LONG, everything
from support.lake import DAILY_TABLE, Lake
from support.malformed import OF_MESSAGES
from support.topic import Topic, compare_dead_letters, weather
from support.weather_data import CITIES, day_range, encode
from support.web import web_of

MALFORMED = (OF_MESSAGES * 3)[:200] if LONG else OF_MESSAGES
RECREATED = "deleted and created again"
TABLES = ["weather", "weather_forecast", "dead_letters"]
# Messages with forecasts, 19 KB each; in the long test more than the memory limit of a landing.
LARGE_MESSAGES = 30_000 if LONG else 5_000
MIB = 1 << 20
MEMORY_MAX = 512 * MIB
# Rate of messages while servers or landings are killed.
PER_SECOND, BURST = 2_000, 400
TIMEOUT_S = 120
# A landing that must stop does so within 10 s; the short test asserts no duration.
STOPS_WITHIN_S = 10 if LONG else TIMEOUT_S


def lake_of(lakes, kind: str, topic: Topic, **variables: str) -> Lake:
    return lakes.new(kind, BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name, **variables)


def land(lake: Lake) -> str:
    return lake.isobar.ok("land", "--from", "kafka", "--once").stdout


def must_hold(lake: Lake, topic: Topic) -> None:
    must_hold_rows(lake, topic)
    compare_dead_letters(lake.rows("dead_letters"), topic.bad, topic.name)


def must_hold_rows(lake: Lake, topic: Topic) -> None:
    assert lake.identities() == oracle.identities(topic.records)
    columns = ["kafka_partition", "kafka_offset", *oracle.observation(topic.records[0])]
    oracle.compare_observations(lake.rows("weather", columns), topic.records)
    oracle.compare_forecasts(lake.rows("weather_forecast"), topic.records)


def versions(lake: Lake) -> list[int]:
    return [delta.versions_seen(lake.place, table) for table in TABLES]


def wait_until(condition, what: str, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.05)


def end(process: subprocess.Popen, number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(timeout=TIMEOUT_S)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_tables_and_aggregates_match_the_oracle(lakes, kind, topic, zone, figures):
    export = everything()
    topic.produce(export.records, kinds=MALFORMED)
    lake = lake_of(lakes, kind, topic, TZ=zone)
    land(lake)
    must_hold(lake, topic)
    lake.aggregate()
    oracle.compare_daily(lake.rows(DAILY_TABLE), oracle.daily_weather_by_city(topic.records))
    figures.record(
        f"landed from Kafka as the oracle says, {kind}, TZ={zone}",
        f"{len(topic.records)} rows, {len(topic.bad)} dead letters, {len(export.days)} days",
    )


@contextlib.contextmanager
def producing(topic: Topic, per_second: int = PER_SECOND) -> Iterator[None]:
    """Produces messages, some of them malformed, during the block."""
    done = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        produced = thread.submit(produce_steadily, topic, per_second, done)
        try:
            yield
        finally:
            done.set()
        produced.result()


def produce_steadily(topic: Topic, per_second: int, done: threading.Event) -> None:
    records = weather(day_range(date(2026, 1, 1), 12), CITIES[:3])
    started = time.monotonic()
    for n in itertools.count():
        start = n * BURST % len(records)
        topic.produce(records[start : start + BURST], kinds=["cut short"], seed=n)
        if done.wait(max(0.0, started + (n + 1) * BURST / per_second - time.monotonic())):
            return


def test_quiet_topic_lands(lakes, kind, topic):
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="300ms")
    process = lake.isobar.start("land", "--from", "kafka")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:5])
    wait_until(lambda: count(lake) == 5, "the rows of a quiet topic")
    assert end(process) == 0
    must_hold(lake, topic)


@pytest.mark.parametrize("command", ["land", "consume"])
@pytest.mark.parametrize("once", [True, False])
def test_positions_pass_transaction_markers_and_lag_is_zero(lakes, topic, database, command, once):
    """A marker is an offset without a record: of a committed transaction, and of an aborted one with its records."""
    interval = {f"ISOBAR__{command.upper()}__INTERVAL": "200ms", f"ISOBAR__{command.upper()}__HTTP_LISTEN": "127.0.0.1:0"}
    lake = lake_of(lakes, "local", topic, **interval, **database.variables)
    arguments = ["land", "--from", "kafka"] if command == "land" else ["consume"]
    records = weather([date(2026, 1, 15)], CITIES[:2])
    with topic.transactions() as transact:
        transact(records[:40], commit=True)
        transact(records[40:60], commit=False)

    def reached() -> list[int]:
        if command == "consume" and not database.has("isobar.positions"):
            return []
        if command == "consume":
            return [row[0] for row in database.rows("SELECT next_offset FROM isobar.positions ORDER BY partition")]
        rows = lake.isobar.query(
            "SELECT min(next_offset) AS n FROM system.completeness GROUP BY kafka_partition ORDER BY kafka_partition"
        )
        return [row["n"] for row in rows]

    def ends() -> list[int]:
        return [high for _, high in topic.watermarks() if high > 0]

    if once:
        lake.isobar.ok(*arguments, "--once")
        assert reached() == ends()
        return
    with lake.isobar.start(*arguments) as process:
        wait_until(lambda: topic_is_reached(reached, ends), "the markers")
        with topic.transactions() as transact:
            transact(records[60:90], commit=True)
        wait_until(lambda: topic_is_reached(reached, ends), "the later markers")
        behind = "isobar_kafka_lag" if command == "land" else "isobar_consume_behind_messages"
        web = web_of(process)
        wait_until(lambda: lags(web, behind) == {0.0}, "a lag of 0")
        assert end(process) == 0


def topic_is_reached(reached, ends) -> bool:
    return reached() == ends()


def lags(web, metric: str) -> set[float]:
    return {value for name, value in web.metrics().items() if name.split("{")[0] == metric}


def count(lake: Lake) -> int:
    return delta.count(lake.place, "weather") if delta.versions_seen(lake.place, "weather") else 0


@pytest.mark.parametrize("server", ["kafka", "namenode", "datanode"])
def test_landing_retries_while_servers_restart(lakes, stack, topic, server, figures):
    lake = lake_of(lakes, "hdfs", topic, ISOBAR__LAND__INTERVAL="200ms", ISOBAR__HDFS__TIMEOUT="3s")
    process = lake.isobar.start("land", "--from", "kafka")
    chance = random.Random(5)
    with producing(topic):
        for _ in range(faults.times(server)):
            faults.some_time_after("a commit", lake.commits, process, chance)
            faults.restart(stack, server, chance)
        faults.some_time_after("a commit", lake.commits, process, chance)
    twice = topic.read_unconfirmed()
    wait_until(lambda: count(lake) >= len(topic.records), "all rows")
    assert end(process) == 0
    must_hold(lake, topic)
    figures.record(
        f"{'stop' if server == 'datanode' else 'restart'} of {server} under land",
        f"{faults.times(server)} times, {len(topic.records)} rows, {twice} that the producer had to send twice: 0 lost, 0 double",
    )


def test_memory_is_bounded_for_a_large_backlog(lakes, topic, figures):
    large = weather([date(2026, 1, 15)], CITIES[:3], forecasts=40)
    while len(topic.records) < LARGE_MESSAGES:
        topic.produce(large)
    lake = lake_of(lakes, "local", topic, ISOBAR__LAND__BYTES_MAX="16MiB")
    process = lake.isobar.start("land", "--from", "kafka", "--once")
    peak = process.wait_and_weigh()
    assert process.returncode == 0, process.said()
    assert lake.identities() == oracle.identities(topic.records)
    held = sum(len(encode(record.value)) for record in large) * len(topic.records) // len(large)
    figures.record(
        "memory of land from Kafka, commits of 16 MiB", f"{peak // MIB} MiB for {held // MIB} MiB of messages"
    )
    assert peak < MEMORY_MAX


def must_stop(process: Process, says: list[str]) -> float:
    """Asserts that the process ends by itself with this text, and returns the seconds."""
    started = time.monotonic()
    assert process.wait(timeout=STOPS_WITHIN_S) == 1, process.said()
    for text in says:
        assert text in process.said()
    return time.monotonic() - started


def test_recreated_topic_is_refused_before_any_write(lakes, kind, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    lake = lake_of(lakes, kind, topic)
    land(lake)
    before = versions(lake)
    topic.delete()
    wait_until(lambda: topic.name not in topic.admin.list_topics(timeout=10).topics, "the end of the topic")
    topic.create()
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    lake.isobar.refused(
        "land", "--from", "kafka", "--once", code=1, says=[topic.name, RECREATED], within_s=STOPS_WITHIN_S
    )
    assert versions(lake) == before


def test_topic_recreated_while_landing_stops_the_landing(lakes, kind, topic, figures):
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="200ms")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    process = lake.isobar.start("land", "--from", "kafka")
    # Each table has its own commit, and all of them record the position.
    wait_until(lambda: count(lake) == 100 and len(set(versions(lake))) == 1, "the first rows")
    before = versions(lake)
    topic.delete()
    wait_until(lambda: topic.name not in topic.admin.list_topics(timeout=10).topics, "the end of the topic")
    topic.create()
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    seconds = must_stop(process, [topic.name, RECREATED])
    assert versions(lake) == before
    figures.record(f"topic recreated under land, {kind}: until it stops", f"{seconds:.1f} s")


def test_segments_that_expire_unread_stop_the_landing(lakes, kind, topic, figures):
    first = weather([date(2026, 1, 15)], CITIES[:2])
    topic.produce(first)
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="200ms")
    process = lake.isobar.start("land", "--from", "kafka")
    wait_until(lambda: count(lake) == len(first), "the first rows")
    # The process is stopped, as on a suspended machine, and messages expire in the meantime.
    process.send_signal(signal.SIGSTOP)
    # Two days, since a pending fetch can return messages of one of them only.
    for day in (16, 17):
        topic.produce(weather([date(2026, 1, day)], CITIES[:2]))
    topic.expire()
    wait_until(lambda: all(low == high for low, high in topic.watermarks()), "the end of the segments")
    process.send_signal(signal.SIGCONT)
    lost = [topic.name, "--accept-loss"]
    seconds = must_stop(process, lost)
    before, landed = versions(lake), lake.identities()
    for _, identities in itertools.groupby(landed, key=itemgetter(0)):
        offsets = [offset for _, offset in identities]
        assert offsets == list(range(len(offsets))), "something landed from behind the gap"
    lake.isobar.refused("land", "--from", "kafka", "--once", code=1, says=lost, within_s=STOPS_WITHIN_S)
    assert versions(lake) == before
    figures.record(f"segments expired under land, {kind}: until it stops", f"{seconds:.1f} s")


def test_added_partitions_are_read_from_their_beginning(lakes, kind, topic):
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__INTERVAL="200ms")
    days, cities = day_range(date(2026, 1, 15), 4), CITIES[:6]
    topic.produce(weather(days[:1], cities)[:100], kinds=OF_MESSAGES[:2])
    process = lake.isobar.start("land", "--from", "kafka")
    try:
        wait_until(lambda: count(lake) == 100, "the first rows")
        old = topic.partitions
        topic.add_partitions(2)
        # Before the landing notices the partitions, and afterwards.
        for day in days[1:]:
            topic.produce(weather([day], cities)[:100], kinds=OF_MESSAGES[-2:])
        assert {record.partition for record in topic.records} - set(range(old)), "nothing is in the new ones"
        wait_until(lambda: len(lake.identities()) >= len(topic.records), "the rows of all partitions")
        topic.produce(weather(days[:1], cities)[100:200])
        wait_until(lambda: len(lake.identities()) >= len(topic.records), "what came after")
        assert end(process) == 0, process.said()
    finally:
        process.kill()
        process.wait()
    must_hold(lake, topic)


def test_offsets_lost_to_retention_are_an_error_until_accepted(lakes, kind, topic):
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


def test_check_reports_the_topics_of_the_tables(lakes, topic):
    outcome = lake_of(lakes, "local", topic).isobar.ok("check")
    assert f"ok      kafka    {topic.servers}  topic {topic.name}, 3 partitions\n" in outcome.stdout
    missing = lakes.new("local", BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME="not-there").isobar
    create = f"kafka-topics.sh --bootstrap-server {topic.servers} --create --topic not-there"
    missing.refused("check", code=1, says=["there is no topic", create])
    away = lakes.new("local", BOOTSTRAP_SERVERS="127.0.0.1:1").isobar
    away.refused("check", code=1, says=["no Kafka broker answers at 127.0.0.1:1", "BOOTSTRAP_SERVERS"])
    # A configured topic alone does not imply Kafka: export files have one too.
    assert "kafka" not in lakes.new("local", TOPIC_NAME=topic.name).isobar.ok("check").stdout


def test_missing_broker_missing_topic_and_path_are_refused_by_name(lakes, kafka):
    lake = lakes.new("local", BOOTSTRAP_SERVERS="127.0.0.1:1")
    lake.isobar.refused(
        "land", "--from", "kafka", "--once", code=1, says=["127.0.0.1:1", "BOOTSTRAP_SERVERS"], within_s=30
    )
    lake = lakes.new("local", BOOTSTRAP_SERVERS=kafka["BOOTSTRAP_SERVERS"], TOPIC_NAME="not-there")
    lake.isobar.refused("land", "--from", "kafka", "--once", code=1, says=['"not-there"', "TOPIC_NAME"])
    lake.isobar.refused("land", "--from", "kafka", "somewhere", "--once", code=2, says=["somewhere", "--topic"])
    assert lake.place.names("lake") == []
