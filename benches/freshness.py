"""How soon a message of Kafka is visible to queries: `isobar land` and `isobar serve` as services, a real HDFS.

Claim: a single message, with its observation and every step of its forecast, is visible at most 2 s after the end of
`land.interval`, in which the messages of a quiet topic wait for their commit. The slowest message counts.

The time starts before the message is passed to the client of Kafka. It ends when a Flight SQL client, which polls without
pauses, sees the message in both tables. The messages are sent at random intervals, independent of the commits. In the end the
tables must have each message once.
"""

import random
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from adbc_driver_flightsql.dbapi import Cursor
from backlog import Backlog, lake_of, must_hold_forecasts
from comparison import Comparison, Limit, arguments, in_seconds, say
from stack import Stack, session
from support.binary import TIMEOUT_S
from support.flight import Server
from support.service import Service
from support.topic import Topic, weather
from support.weather_data import CITIES, Record
from support.web import eventually

FORECASTS = 40
LANDED = 'isobar_landed_rows_total{table="weather_forecast"}'
LATER_S = 2


def main() -> int:
    given = arguments(__doc__, messages=20, interval_ms=1000)
    interval_s = given.interval_ms / 1000
    with session() as stack, tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        stack.start("kafka")
        seconds = measure(stack, given.binary, Path(directory), given.messages, given.interval_ms)
    comparison = Comparison(
        suite="freshness",
        title="From a message in Kafka to answers that have it",
        work=f"{given.messages} single messages with a forecast of {FORECASTS} steps, `land.interval` of {interval_s} s",
        against="",
        speed_in_words=in_seconds,
        command="make bench-ingest",
    )
    fresh = Limit(
        "until both tables have it over Flight SQL, lake on HDFS", seconds, interval_s + LATER_S, in_seconds
    )
    return comparison.report([], [fresh], kept=given.kept)


def measure(stack: Stack, binary: str, directory: Path, count: int, interval_ms: int) -> list[float]:
    topic = Topic(stack.variables("kafka"))
    lake = lake_of(stack, binary, directory / "freshness", topic, ISOBAR__LAND__INTERVAL=f"{interval_ms}ms")
    chance = random.Random(1)
    seconds = []
    # One more message, because the first one creates the tables.
    first, *records = weather([date(2026, 1, 15)], CITIES[:3], FORECASTS)[: count + 1]
    with Service(lake.isobar, "land", "--from", "kafka") as landing:
        topic.produce([first])
        eventually(lambda: landing.metric(LANDED) == FORECASTS, "the first message landed", TIMEOUT_S)
        with Server(lake.isobar) as server, server.connect() as connection, connection.cursor() as cursor:
            for record in records:
                time.sleep(chance.uniform(0, 2 * interval_ms / 1000))
                seconds.append(until_seen(cursor, topic, record))
                say(f"message {len(seconds)}: {seconds[-1]:.3f} s")
        landing.stop()
        assert landing.ended() == 0, landing.log
    identities = sorted(record.identity for record in topic.records)
    assert lake.identities() == identities, "not each message landed once"
    must_hold_forecasts(lake, Backlog(topic, 0, identities, FORECASTS))
    return seconds


def until_seen(cursor: Cursor, topic: Topic, record: Record) -> float:
    started = time.perf_counter()
    topic.produce([record])
    partition, offset = topic.records[-1].identity
    where = f"WHERE kafka_partition = {partition} AND kafka_offset = {offset}"
    expected = {"weather": 1, "weather_forecast": FORECASTS}
    for table, rows in expected.items():
        while rows_of(cursor, f"SELECT count(*) FROM {table} {where}") != rows:
            assert time.perf_counter() - started < TIMEOUT_S, f"not in {table} after {TIMEOUT_S} s"
    return time.perf_counter() - started


def rows_of(cursor: Cursor, sql: str) -> int:
    cursor.execute(sql)
    [[count]] = cursor.fetchall()
    return count


if __name__ == "__main__":
    sys.exit(main())
