"""The messages that `isobar produce` has sent to a topic, and their comparison with the API."""

import itertools
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from support.openweather import OpenWeather
from support.topic import watermarks_of
from support.weather_data import iso, precipitations_info, sun_info

# An address at which no server listens.
NOWHERE = "127.0.0.1:1"


def variables(api: OpenWeather, servers: str, topic: str, spool: Path) -> dict[str, str]:
    """Variables of a producer that polls all cities of `api` every half second, and sends to this topic through this spool."""
    return {
        "BOOTSTRAP_SERVERS": servers,
        "TOPIC_NAME": topic,
        "CITY": ";".join(str(city.id) for city in api.cities),
        "ISOBAR__OPENWEATHER__BASE_URL": api.url,
        "ISOBAR__OPENWEATHER__INTERVAL": "500ms",
        "ISOBAR__OPENWEATHER__CALLS_PER_MINUTE": "100000",
        "ISOBAR__PRODUCE__HTTP_LISTEN": "127.0.0.1:0",
        "ISOBAR__PRODUCE__SPOOL_PATH": str(spool),
    }


@dataclass(frozen=True)
class Message:
    """A record of Kafka."""

    partition: int
    offset: int
    timestamp_ms: int
    key: str
    raw: bytes

    @property
    def value(self) -> dict:
        return json.loads(self.raw)

    @property
    def served(self) -> int:
        """The number of the current weather that it was made of."""
        return self.value["weather"]["served"]


class ProducedTopic:
    """A topic that the producer creates."""

    def __init__(self, kafka: dict[str, str]):
        self.servers = kafka["BOOTSTRAP_SERVERS"]
        self.name = f"produced-{uuid.uuid4().hex[:8]}"
        self.admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def is_there(self) -> bool:
        return self.name in self.admin.list_topics(timeout=30).topics

    def partitions(self) -> int:
        return len(self.admin.list_topics(self.name, timeout=30).topics[self.name].partitions)

    def configured(self, key: str) -> str:
        resource = ConfigResource("topic", self.name)
        return self.admin.describe_configs([resource])[resource].result(30)[key].value

    def messages(self) -> list[Message]:
        """All messages, by partition and offset."""
        if not self.is_there():
            return []
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": "none", "enable.auto.commit": False, "log_level": 0}
        )
        try:
            return [message for number in range(self.partitions()) for message in self._of(consumer, number)]
        finally:
            consumer.close()

    def _of(self, consumer: Consumer, partition: int) -> list[Message]:
        consumer.list_topics(self.name, timeout=30)  # it needs metadata of a new topic first
        low, high = watermarks_of(consumer, TopicPartition(self.name, partition))
        consumer.assign([TopicPartition(self.name, partition, low)])
        found: list[Message] = []
        while not found or found[-1].offset < high - 1:
            if low == high:
                break
            record = consumer.poll(30)
            assert record is not None and record.error() is None, f"{record and record.error()}"
            _, timestamp = record.timestamp()
            found.append(Message(partition, record.offset(), timestamp, record.key().decode(), record.value()))
        return found


def must_be_what_was_served(messages: list[Message], api: OpenWeather) -> None:
    """Every section as the API sent it, byte for byte; the two derived ones as the legacy producer derived them, but for
    its wrong offsets."""
    for message in messages:
        value, raw = message.value, message.raw
        assert list(value) == ["sun_info", "precipitations_info", "air_pollution", "forecast", "weather"]
        assert api.weather[message.served] in raw, message
        for endpoint, bodies in api.others.items():
            assert any(body in raw for body in bodies), (endpoint, message)
        weather = value["weather"]
        assert message.key == str(weather["id"])
        assert value["precipitations_info"] == precipitations_info(weather)
        assert value["sun_info"] == with_offsets(sun_info(weather), weather)


def with_offsets(legacy: dict, weather: dict) -> dict:
    """Adds the offset from UTC to local times."""
    sign, minutes = "+" if weather["timezone"] >= 0 else "-", abs(weather["timezone"]) // 60
    offset = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    local = {
        name: iso(weather["sys"][name.removesuffix("_local")] + weather["timezone"])[:-6] + offset
        for name in ("sunrise_local", "sunset_local")
        if legacy[name]
    }
    return legacy | local


def must_be_in_order(messages: list[Message]) -> None:
    """Each city's messages lie in one partition, in the order in which they were fetched."""
    for (_, key), of_city in itertools.groupby(sorted(messages, key=lambda m: (m.partition, m.key, m.offset)), _place):
        served = [message.served for message in of_city]
        assert served == sorted(served), f"city {key}: {served}"
    assert len({message.key for message in messages}) == len({_place(message) for message in messages})


def _place(message: Message) -> tuple[int, str]:
    return message.partition, message.key
