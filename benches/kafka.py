"""How fast `isobar land` brings a topic into the lake on a real HDFS, against kcat, which reads it and keeps nothing.

Claim, for messages of 1.5 KB in three topic partitions of a real broker, all of them from the beginning, both as whole
processes: at least a quarter of the messages a second. Every landing goes into a fresh lake and counts only if that
then holds each message of the topic once.
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from comparison import Comparison, Timing, arguments, as_percent, per_second, say
from confluent_kafka import Producer
from stack import Stack, session
from support.binary import HDFS_USER, Isobar
from support.lake import Lake
from support.places import HdfsPlace
from support.topic import Topic, weather
from support.weather_data import day_range, encode, many_cities
from support.webhdfs import WebHdfs

TARGET = 0.25


@dataclass(frozen=True)
class Filled:
    """A topic with everything that was produced to it."""

    topic: Topic
    size: int
    identities: list[tuple[int, int]]

    @property
    def messages(self) -> int:
        return len(self.identities)


def main() -> int:
    given = arguments(__doc__, cities=100, days=35, rounds=5)
    with session() as stack, tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        stack.start("kafka")
        filled = fill(Topic(stack.variables("kafka")), given.cities, given.days)
        timings = measure(stack, given.binary, Path(directory), filled, given.rounds)
    mean = filled.size / filled.messages
    comparison = Comparison(
        suite="kafka",
        title="Landing a Kafka topic against reading it with kcat",
        work=f"{filled.messages} messages of {mean:.0f} bytes on average, {filled.size / 1e6:.0f} MB, "
        f"{filled.topic.partitions} topic partitions",
        against="of kcat",
        speed_in_words=as_percent,
        median_in_words=per_second(filled.messages, "messages"),
    )
    return comparison.report(timings, kept=given.kept)


def fill(topic: Topic, cities: int, days: int) -> Filled:
    """Messages without forecasts, as large as the claim wants them; a day at a time on every core."""
    started = time.perf_counter()
    parts = [(topic.servers, topic.name, topic.partitions, day, cities) for day in day_range(date(2026, 1, 1), days)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        sizes = pool.starmap(produce_day, parts, chunksize=1)
    # In a new topic the offsets tell the messages.
    identities = [(n, offset) for n, extent in enumerate(topic.extents()) for offset in range(*extent)]
    count, size = (sum(column) for column in zip(*sizes, strict=True))
    assert len(identities) == count, f"the topic holds {len(identities)} of {count} messages"
    say(f"{count} messages, {size / 1e6:.0f} MB made and produced in {time.perf_counter() - started:.0f} s")
    return Filled(topic, size, identities)


def produce_day(servers: str, topic: str, partitions: int, day: date, cities: int) -> tuple[int, int]:
    """The number of messages and their bytes."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50})
    count = size = 0
    for record in weather([day], many_cities(cities)):
        raw = encode(record.value)
        city = record.value["weather"]["id"]
        producer.produce(topic, raw, str(city), city % partitions, timestamp=record.event_at * 1000)
        producer.poll(0)
        count, size = count + 1, size + len(raw)
    assert producer.flush(60) == 0
    return count, size


def measure(stack: Stack, binary: str, directory: Path, filled: Filled, rounds: int) -> list[Timing]:
    offsets = read(filled.topic, "-f", "%o\n", stdout=subprocess.PIPE).stdout
    assert offsets.count(b"\n") == filled.messages, "kcat reads another number of messages"
    land(stack, binary, directory / "warm", filled)
    reading, landing = [], []
    for n in range(rounds):
        started = time.perf_counter()
        read(filled.topic)
        reading.append(time.perf_counter() - started)
        landing.append(land(stack, binary, directory / str(n), filled))
        say(f"round {n + 1}: kcat {reading[-1]:.2f} s, isobar {landing[-1]:.2f} s")
    return [
        Timing("`kcat -C -e -q` to /dev/null, whole process", reading),
        Timing("`isobar land --from kafka --once`, whole process, fresh lake on HDFS", landing, TARGET),
    ]


def read(topic: Topic, *options: str, stdout: int = subprocess.DEVNULL) -> subprocess.CompletedProcess:
    command = ["kcat", "-C", "-e", "-q", "-b", topic.servers, "-t", topic.name, "-o", "beginning", *options]
    return subprocess.run(command, stdout=stdout, check=True)


def land(stack: Stack, binary: str, directory: Path, filled: Filled) -> float:
    """The seconds of one landing, which must have brought every message once."""
    root = f"/user/{HDFS_USER}/bench/{directory.name}"
    place = HdfsPlace(stack.rpc_url, WebHdfs(stack.http_url, HDFS_USER), root)
    source = {"BOOTSTRAP_SERVERS": filled.topic.servers, "TOPIC_NAME": filled.topic.name}
    lake = Lake(place, Isobar.at(binary, directory, place, **source))
    seconds = lake.isobar.ok("land", "--from", "kafka", "--once").seconds
    assert lake.identities() == filled.identities, "not each message landed once"
    place.delete("lake")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
