"""A topic without weather: readings of sensors, and the files that declare their tables."""

import dataclasses
import json
import random
import shutil
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path

from support.binary import REPOSITORY
from support.topic import BadMessage, Topic
from support.weather_data import Record

BEGIN = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
ROOMS = ["cellar", "kitchen", "attic"]
TABLE = "readings"
DAILY = "sensors/daily_readings_by_room"
DAILY_TABLE = "daily_readings_by_room"
TOO_HOT = "too_hot"

READINGS_SQL = """\
--! description = "One reading of one sensor."
--! topic       = "{topic}"
--! partition   = "dt"
--!
--! [message]
--! sensor      = "text not null"
--! room        = "text not null"
--! celsius     = "double not null"
--!
--! [[refuse]]
--! reason      = "too_hot"
--! when        = "message['celsius'] > 1000"

SELECT
    event_day(kafka_timestamp) AS dt,
    kafka_timestamp AS read_at,
    message['sensor'] AS sensor,
    message['room'] AS room,
    message['celsius'] AS celsius,
    kafka_topic,
    kafka_partition,
    kafka_offset
FROM messages
"""

DAILY_SQL = """\
--! description = "How warm each room was on one day."
--! params      = { dt = "date" }
--! partition   = "dt"
--! [output.table]
--! name        = "daily_readings_by_room"
SELECT
    dt,
    room,
    count(*) AS readings,
    min(celsius) AS coldest,
    max(celsius) AS hottest
FROM readings
WHERE dt = $dt
GROUP BY dt, room
"""


def queries_with(directory: Path, *tables: tuple[str, str]) -> Path:
    """A copy of the queries of the checkout with further table files, each with name and topic."""
    queries = directory / "queries"
    shutil.copytree(REPOSITORY / "queries", queries)
    for name, topic in tables:
        (queries / "tables" / f"{name}.sql").write_text(READINGS_SQL.format(topic=topic))
    (queries / "sensors").mkdir()
    (queries / f"{DAILY}.sql").write_text(DAILY_SQL)
    return queries


class Sensors(Topic):
    """A topic of readings."""

    def __init__(self, kafka: dict[str, str], partitions: int):
        super().__init__(kafka, partitions)
        # By topic partition, of all messages, including those that a rule refuses.
        self.newest: dict[int, int] = {}

    def produce_readings(self, count: int, hot: int = 0, late: int = 0, seed: int = 1) -> None:
        """Produces a reading for each minute; `hot` of them are implausible, and `late` of them have an older time."""
        chance = random.Random(seed)
        odd = chance.sample(range(1, count), hot + late)
        begin = BEGIN + 60 * (len(self.records) + len(self.bad))
        for n in range(count):
            celsius = 2000.0 if n in odd[:hot] else round(chance.uniform(5, 30), 1)
            at = begin + 60 * n - (7200 if n in odd[hot:] else 0)
            value = {"sensor": f"s{n % 7}", "room": ROOMS[n % 3], "celsius": celsius}
            self._send_reading(Record(-1, -1, at, value), celsius > 1000)
        assert self._producer.flush(120) == 0

    def _send_reading(self, record: Record, hot: bool) -> None:
        raw = json.dumps(record.value).encode()

        def delivered(error, sent):
            assert error is None, error
            identity = (sent.partition(), sent.offset())
            self.newest[sent.partition()] = max(record.event_at, self.newest.get(sent.partition(), 0))
            if hot:
                self.bad.append(BadMessage(identity, TOO_HOT, raw))
            else:
                self.records.append(dataclasses.replace(record, partition=identity[0], offset=identity[1]))

        number = len(self.records) + len(self.bad) + len(self._producer)
        self._producer.produce(
            self.name, raw, None, number % self.partitions, on_delivery=delivered, timestamp=record.event_at * 1000
        )
        self._producer.poll(0)


def compare_readings(rows: list[dict], topic: Sensors) -> None:
    """Asserts that each produced reading has one row."""

    def row_of(record: Record) -> tuple:
        at = datetime.fromtimestamp(record.event_at, UTC)
        value = record.value
        return (*record.identity, topic.name, at, value["sensor"], value["room"], value["celsius"])

    columns = ["kafka_partition", "kafka_offset", "kafka_topic", "read_at", "sensor", "room", "celsius"]
    found = sorted((tuple(row[column] for column in columns) for row in rows), key=lambda row: row[:2])
    assert found == sorted((row_of(record) for record in topic.records), key=lambda row: row[:2])


def daily(records: list[Record]) -> list[tuple]:
    """Day in UTC, room, count, minimum and maximum."""
    found: dict[tuple[date, str], list[float]] = defaultdict(list)
    for record in records:
        day = datetime.fromtimestamp(record.event_at, UTC).date()
        found[day, record.value["room"]].append(record.value["celsius"])
    return sorted((day, room, len(all), min(all), max(all)) for (day, room), all in found.items())
