"""A Kafka topic under test. It records the messages that are produced to it, with their identities."""

import contextlib
import dataclasses
import json
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from support.malformed import KINDS, NOON_1999, NOON_2126, Text
from support.weather_data import City, Record, encode, envelope, message, polls

# Kinds that are malformed by their time in Kafka.
TIMES = {"event time before 2000": NOON_1999, "event time a century ahead": NOON_2126}


@dataclasses.dataclass(frozen=True)
class BadMessage:
    """A malformed message by its identity."""

    identity: tuple[int, int]
    kind: str
    raw: bytes | None


def watermarks_of(consumer: Consumer, partition: TopicPartition, within_s: float = 30) -> tuple[int, int]:
    """The watermarks. Retries, since the leader of a new topic may not be elected yet."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=within_s)
        except KafkaException as refused:
            if refused.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


class Topic:
    """A new topic, with the records and malformed messages that were produced to it."""

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
        self._connect()
        # Accepts any timestamp: by default the broker refuses messages from the future.
        trusting = {"message.timestamp.after.max.ms": str(2**63 - 1)}
        new = NewTopic(self.name, self.partitions, config=trusting | self.configuration)
        self.admin.create_topics([new])[self.name].result(30)
        # The controller knows the topic before a busy broker does.
        self._wait_for_partitions()

    def add_partitions(self, count: int) -> None:
        """Adds partitions, and waits until clients see them."""
        self.partitions += count
        grown = NewPartitions(self.name, self.partitions)
        self.admin.create_partitions([grown])[self.name].result(30)
        self._wait_for_partitions()
        # A producer that has sent messages caches the previous metadata.
        self._connect()

    def _wait_for_partitions(self) -> None:
        for _ in range(300):
            if len(self.admin.list_topics(self.name, timeout=10).topics[self.name].partitions) == self.partitions:
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.name} has no {self.partitions} partitions within 30 s")

    def delete(self) -> None:
        self.admin.delete_topics([self.name])[self.name].result(30)

    def delete_before(self, offsets: dict[int, int]) -> None:
        """Deletes records, as retention does."""
        wanted = [TopicPartition(self.name, partition, offset) for partition, offset in offsets.items()]
        for deleted in self.admin.delete_records(wanted).values():
            deleted.result(30)

    def expire(self) -> None:
        """Makes all records expire. The broker deletes them at its next check."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.name)
        resource.add_incremental_config(
            ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
        )
        for changed in self.admin.incremental_alter_configs([resource]).values():
            changed.result(30)

    def rewind(self, group: str) -> None:
        """Resets the offsets of the group to the beginning."""
        begin = [TopicPartition(self.name, number, 0) for number in range(self.partitions)]
        for changed in self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, begin)]).values():
            changed.result(30)

    def watermarks(self) -> list[tuple[int, int]]:
        """The watermarks of each topic partition."""
        consumer = Consumer(self._client() | {"group.id": "watermarks"})
        try:
            partitions = [TopicPartition(self.name, number) for number in range(self.partitions)]
            return [watermarks_of(consumer, partition) for partition in partitions]
        finally:
            consumer.close()

    def produce(self, records: Iterable[Record], kinds: Iterable[str] = (), seed: int = 1) -> None:
        """Produces records, which get their offsets from Kafka, with a malformed message of each kind in between."""
        records = list(records)
        kinds = list(kinds)
        chance = random.Random(seed)
        places = dict(zip(sorted(chance.sample(range(len(records)), len(kinds))), kinds, strict=True))
        for number, record in enumerate(records):
            self._send(record, encode(record.value), None)
            if number in places:
                kind = places[number]
                at = TIMES.get(kind, record.event_at)
                self._send(dataclasses.replace(record, event_at=at), spoiled(kind, record), kind)
        assert self._producer.flush(120) == 0

    def read_unconfirmed(self) -> int:
        """Reads messages that were not confirmed to the producer, and returns their number: a killed broker may have stored a
        message that the producer then sends again, as a second message."""
        confirmed = {record.identity for record in self.records} | {bad.identity for bad in self.bad}
        found = {(message.partition(), message.offset()): message for message in self._messages()}
        assert confirmed <= found.keys(), "the broker lost messages"
        for identity in found.keys() - confirmed:
            raw, (_, at_ms) = found[identity].value(), found[identity].timestamp()
            try:
                self.records.append(Record(*identity, at_ms // 1000, json.loads(raw)))
            except ValueError:
                self.bad.append(BadMessage(identity, "taken twice", raw))
        return len(found) - len(confirmed)

    @contextlib.contextmanager
    def transactions(self) -> Iterator[Callable]:
        """Sends records in transactions. Records of aborted transactions do not count."""
        producer = Producer(self._client() | {"transactional.id": uuid.uuid4().hex})
        producer.init_transactions(60)

        def transact(records: list[Record], commit: bool) -> None:
            plain, self._producer = self._producer, producer
            before = len(self.records)
            producer.begin_transaction()
            try:
                self.produce(records)
            finally:
                self._producer = plain
            if commit:
                producer.commit_transaction(60)
            else:
                producer.abort_transaction(60)
                del self.records[before:]

        yield transact

    def produce_raw(self, record: Record, raw: bytes) -> None:
        """Produces malformed bytes in place of a record."""
        self._send(record, raw, "raw")
        assert self._producer.flush(60) == 0

    def _messages(self) -> Iterator[Message]:
        consumer = Consumer(self._client() | {"group.id": "stock", "enable.auto.commit": False})
        left = sum(high - low for low, high in self.watermarks())
        try:
            consumer.assign([TopicPartition(self.name, number, OFFSET_BEGINNING) for number in range(self.partitions)])
            while left > 0:
                messages = consumer.consume(min(left, 10_000), timeout=30)
                assert messages and not any(message.error() for message in messages)
                yield from messages
                left -= len(messages)
        finally:
            consumer.close()

    def _send(self, record: Record, raw: bytes | None, kind: str | None) -> None:
        def delivered(error, sent):
            assert error is None, error
            identity = (sent.partition(), sent.offset())
            if kind is None:
                self.records.append(dataclasses.replace(record, partition=identity[0], offset=identity[1]))
            else:
                self.bad.append(BadMessage(identity, kind, raw))

        city = record.value["weather"]["id"]
        timestamp = record.event_at * 1000
        partition = city % self.partitions
        def is_taken() -> bool:
            try:
                self._producer.produce(self.name, raw, str(city), partition, on_delivery=delivered, timestamp=timestamp)
                return True
            except BufferError:  # the queue of the producer is full
                return False

        while not is_taken():
            self._producer.poll(1)
        self._producer.poll(0)

    def _connect(self) -> None:
        # Waits for a slow broker, since a message that is sent again may be in the topic twice.
        patient = {"request.timeout.ms": 120_000, "socket.timeout.ms": 180_000}
        self._producer = Producer(self._client() | patient | {"linger.ms": 5})

    def _client(self) -> dict:
        return {"bootstrap.servers": self.servers, "log_level": 0}


def spoiled(kind: str, record: Record) -> bytes | None:
    damage = KINDS[kind]
    if isinstance(damage, Text):
        return damage(record.value).raw
    if kind == "no value":
        return None
    _, _, value = damage(envelope(record)).raw.partition(b'"value": ')
    return value.removesuffix(b"}")


def weather(days, cities: list[City], forecasts: int = 0) -> list[Record]:
    """The records of every poll of these days, in order. Kafka assigns their identities."""
    polled = [(at, city) for city in cities for at in polls(city, days)]
    polled.sort(key=lambda poll: poll[0])
    return [Record(-1, -1, at, message(city, at, forecasts)) for at, city in polled]


def compare_dead_letters(rows: Iterable[dict], bad: Iterable[BadMessage], topic: str) -> None:
    """Asserts one dead letter for each malformed message, with its identity, reason and bytes, and no other."""
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
