"""The roads by which the messages of a topic come to the lake, behind one set of words: what was produced is the truth on each."""

import json

from support.binary import Outcome, Process
from support.database import Database
from support.lake import Lake
from support.topic import Topic
from support.weather_data import Record, export_line

SOURCES = ["files", "kafka", "postgres"]
# Of one file.
LINES = 60


class Road:
    """A source of landings into one lake."""

    def __init__(self, source: str, lake: Lake, topic: Topic):
        self.source = source
        self.lake = lake
        self.topic = topic
        # How many records and malformed messages are in files.
        self._written = (0, 0)
        lake.place.make_directory("weather")

    def bring(self) -> None:
        """What was produced and was not brought yet comes to where this source is read."""
        match self.source:
            case "postgres":
                self.lake.isobar.ok("consume", "--once")
            case "files":
                self._write()

    def land(self) -> Outcome:
        return self.lake.isobar.ok(*self.arguments, "--once")

    def start(self) -> Process:
        return self.lake.isobar.start(*self.arguments)

    @property
    def arguments(self) -> list[str]:
        path = [self.lake.place.export_url] if self.source == "files" else []
        return ["land", "--from", self.source, *path]

    def _write(self) -> None:
        """Files of the older exporter, some lines again. Of what is malformed they can hold what is JSON."""
        records, bad = self._written
        self._written = (len(self.topic.records), len(self.topic.bad))
        at = self.topic.records[0].event_at
        lines = [export_line(Record(*bad.identity, at, json.loads(bad.raw))) for bad in self.topic.bad[bad:]]
        lines += [export_line(record) for record in self.topic.records[max(0, records - 5) :]]
        files = {}
        for start in range(0, len(lines), LINES):
            name = f"dt=2026-01-15/weather_{records + start:06d}.json"
            files[name] = b"".join(line + b"\n" for line in lines[start : start + LINES])
        self.lake.put(files)


def lake_of(lakes, kind: str, topic: Topic, database: Database, **variables: str) -> Lake:
    own = {
        "BOOTSTRAP_SERVERS": topic.servers,
        "TOPIC_NAME": topic.name,
        "ISOBAR__CONSUME__HTTP_LISTEN": "127.0.0.1:0",
        "ISOBAR__EXPORT__HTTP_LISTEN": "127.0.0.1:0",
        "ISOBAR__POSTGRES__TIMEOUT": "20s",
    }
    return lakes.new(kind, **own | database.variables | variables)
