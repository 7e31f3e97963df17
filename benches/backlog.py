"""A topic with a backlog, and its landing on a real HDFS: what the benches of Kafka share."""

import multiprocessing
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow
import pyarrow.compute as pc
from comparison import say
from confluent_kafka import Producer
from stack import Stack
from support import delta
from support.binary import HDFS_USER, Isobar
from support.lake import Lake
from support.places import HdfsPlace
from support.topic import Topic, weather
from support.weather_data import day_range, encode, many_cities
from support.webhdfs import WebHdfs


@dataclass(frozen=True)
class Backlog:
    """A topic, and the messages that were produced to it."""

    topic: Topic
    size: int
    identities: list[tuple[int, int]]
    # Steps of the forecast in each message.
    forecasts: int

    @property
    def messages(self) -> int:
        return len(self.identities)

    @property
    def in_words(self) -> str:
        mean = self.size / self.messages
        return (
            f"{self.messages} messages of {mean:.0f} bytes on average, {self.size / 1e6:.0f} MB, "
            f"{self.topic.partitions} topic partitions"
        )


@dataclass(frozen=True)
class Landing:
    seconds: float
    # Peak memory, in bytes.
    peak: int


def fill(topic: Topic, cities: int, days: int, forecasts: int = 0) -> Backlog:
    """Produces messages of 1.5 KB, or of 19 KB with 40 steps of forecast; each core produces one day at a time."""
    started = time.perf_counter()
    each = day_range(date(2026, 1, 1), days)
    parts = [(topic.servers, topic.name, topic.partitions, day, cities, forecasts) for day in each]
    with multiprocessing.get_context("spawn").Pool() as pool:
        sizes = pool.starmap(produce_day, parts, chunksize=1)
    # In a new topic the number of offsets is that of the messages.
    identities = [(n, offset) for n, held in enumerate(topic.watermarks()) for offset in range(*held)]
    count, size = (sum(column) for column in zip(*sizes, strict=True))
    assert len(identities) == count, f"the topic holds {len(identities)} of {count} messages"
    say(f"{count} messages, {size / 1e6:.0f} MB made and produced in {time.perf_counter() - started:.0f} s")
    return Backlog(topic, size, identities, forecasts)


def produce_day(servers: str, topic: str, partitions: int, day: date, cities: int, forecasts: int) -> tuple[int, int]:
    """Returns the number of messages and their bytes."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50})
    count = size = 0
    for record in weather([day], many_cities(cities), forecasts):
        raw = encode(record.value)
        city = record.value["weather"]["id"]
        producer.produce(topic, raw, str(city), city % partitions, timestamp=record.event_at * 1000)
        producer.poll(0)
        count, size = count + 1, size + len(raw)
    assert producer.flush(60) == 0
    return count, size


def lake_of(stack: Stack, binary: str, directory: Path, topic: Topic, **variables: str) -> Lake:
    """A new lake on HDFS, named after the directory."""
    place = HdfsPlace(stack.rpc_url, WebHdfs(stack.http_url, HDFS_USER), f"/user/{HDFS_USER}/bench/{directory.name}")
    source = {"BOOTSTRAP_SERVERS": topic.servers, "TOPIC_NAME": topic.name}
    return Lake(place, Isobar.at(binary, directory, place, **source | variables))


def land(lake: Lake, backlog: Backlog) -> Landing:
    """Lands the backlog into a new lake, which must then hold every message once."""
    started = time.perf_counter()
    with lake.isobar.start("land", "--from", "kafka", "--once") as process:
        peak = process.wait_and_weigh()
        seconds = time.perf_counter() - started
        assert process.returncode == 0, process.said()
    assert lake.identities() == backlog.identities, "not each message landed once"
    if backlog.forecasts:
        must_hold_forecasts(lake, backlog)
    return Landing(seconds, peak)


def must_hold_forecasts(lake: Lake, backlog: Backlog) -> None:
    """Asserts that the lake has each forecast step of each message once."""
    identity = ["kafka_partition", "kafka_offset"]
    table = delta.table(lake.place, "weather_forecast")
    rows: pyarrow.Table = delta.within_limits(lambda: table.to_pyarrow_table(columns=[*identity, "valid_at"]))
    assert rows.num_rows == backlog.messages * backlog.forecasts, f"{rows.num_rows} steps of forecasts landed"
    steps = rows.group_by(identity).aggregate([("valid_at", "count_distinct")])
    assert steps.num_rows == backlog.messages, "not each forecast landed"
    assert pc.all(pc.equal(steps["valid_at_count_distinct"], backlog.forecasts)).as_py(), "not each step landed once"
