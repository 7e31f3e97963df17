"""A Kafka topic under test: what is produced to it, under which identities, is the truth to land."""

import dataclasses
import random
import uuid
from collections.abc import Iterable

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.malformed import KINDS
from support.weather_data import City, Record, encode, envelope, message, polls

# Kinds of malformed messages, by how they spoil one: the whole text of the message, or a part of it.
WHOLE = [
    "cut short", "the gateway's HTML", "binary bytes", "an empty line", "a byte-order mark", "bytes after the end",
    "two values in one line", "single quotes", "a comma before the brace",
]  # fmt: skip
PARTS = [
    "invalid UTF-8 in a name", "a lone high surrogate", "NaN", "Infinity", "a leading zero", "a key twice",
    "arrays nested over 64", "a number too large", "a string over 64 KiB", "value is a number", "value is an array",
    "value is the API's 401", "value is the API's 404", "no weather", "weather is an error body", "no air_pollution",
    "no forecast", "forecast is null", "temperature is a text", "city id is a text",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BadMessage:
    """A malformed message by its identity."""

    identity: tuple[int, int]
    kind: str
    raw: bytes | None


class Topic:
    """A topic of its own, with the records and malformed messages that were produced to it."""

    def __init__(self, kafka: dict[str, str], partitions: int = 3, name: str | None = None, **configuration: str):
        self.servers = kafka["BOOTSTRAP_SERVERS"]
        self.partitions = partitions
        self.name = name or f"weather-{uuid.uuid4().hex[:8]}"
        self.configuration = configuration
        self.records: list[Record] = []
        self.bad: list[BadMessage] = []
        self.admin = AdminClient(self._client())
        self.create()

    def create(self) -> None:
        new = NewTopic(self.name, self.partitions, config=self.configuration)
        self.admin.create_topics([new])[self.name].result(30)

    def delete(self) -> None:
        self.admin.delete_topics([self.name])[self.name].result(30)

    def delete_before(self, offsets: dict[int, int]) -> None:
        """As retention does."""
        wanted = [TopicPartition(self.name, partition, offset) for partition, offset in offsets.items()]
        for deleted in self.admin.delete_records(wanted).values():
            deleted.result(30)

    def produce(self, records: Iterable[Record], kinds: Iterable[str] = (), seed: int = 1) -> None:
        """Produce records; their offsets are those that Kafka gives them. A malformed one of each kind comes in between."""
        records = list(records)
        kinds = list(kinds)
        chance = random.Random(seed)
        places = dict(zip(sorted(chance.sample(range(len(records)), len(kinds))), kinds, strict=True))
        producer = Producer(self._client() | {"linger.ms": 5})
        for number, record in enumerate(records):
            self._send(producer, record, encode(record.value), None)
            if number in places:
                kind = places[number]
                self._send(producer, record, spoiled(kind, record), kind)
        assert producer.flush(60) == 0

    def produce_raw(self, record: Record, raw: bytes) -> None:
        """Produce bytes that are no good message in place of a record."""
        producer = Producer(self._client())
        self._send(producer, record, raw, "raw")
        assert producer.flush(60) == 0

    def _send(self, producer: Producer, record: Record, raw: bytes | None, kind: str | None) -> None:
        def delivered(error, sent):
            assert error is None, error
            identity = (sent.partition(), sent.offset())
            if kind is None:
                self.records.append(dataclasses.replace(record, partition=identity[0], offset=identity[1]))
            else:
                self.bad.append(BadMessage(identity, kind, raw))

        timestamp = record.event_at * 1000
        partition = record.partition % self.partitions
        key = str(record.value["weather"]["id"])
        producer.produce(self.name, raw, key, partition, on_delivery=delivered, timestamp=timestamp)
        producer.poll(0)

    def _client(self) -> dict:
        return {"bootstrap.servers": self.servers, "log_level": 0}


def spoiled(kind: str, record: Record) -> bytes:
    if kind in WHOLE:
        return KINDS[kind](record.value).raw
    raw = KINDS[kind](envelope(record)).raw
    return raw.partition(b'"value": ')[2][:-1]


def weather(days, cities: list[City], forecasts: int = 0) -> list[Record]:
    """Every poll of these days; partitions by city, offsets for Kafka to give."""
    polled = [(at, city) for city in cities for at in polls(city, days)]
    polled.sort(key=lambda poll: poll[0])
    return [Record(city.id, -1, at, message(city, at, forecasts)) for at, city in polled]


def compare_dead_letters(rows: Iterable[dict], bad: Iterable[BadMessage], topic: str) -> None:
    """Each malformed message once, with its identity, its reason and its bytes; nothing else."""
    rows = list(rows)
    want = {message.identity: message for message in bad}
    found = {(row["kafka_partition"], row["kafka_offset"]): row for row in rows}
    missing = [want[identity].kind for identity in want.keys() - found.keys()]
    too_many = [(found[identity]["reason"], found[identity]["detail"]) for identity in found.keys() - want.keys()]
    assert not missing and not too_many, f"not refused: {missing}; refused though valid: {too_many}"
    assert len(rows) == len(found), f"{len(rows) - len(found)} messages stand twice"
    for identity, row in found.items():
        assert row["reason"] and row["received_at"] is not None
        assert (row["source"], row["kafka_topic"], row["path"], row["line"]) == ("kafka", topic, None, None)
        assert row["value"] == (want[identity].raw or b""), want[identity].kind
