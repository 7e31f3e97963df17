"""The sources of a landing behind one interface: every source has the messages that were produced to the topic."""

import json

from support.binary import Outcome, Process
from support.database import Database
from support.lake import Lake
from support.topic import Topic
from support.weather_data import Record, export_line

SOURCES = ["files", "kafka", "postgres"]
# Lines of one file.
LINES = 60


class Source:
    """A source whose messages land in one lake."""

    def __init__(self, name: str, lake: Lake, topic: Topic):
        self.name = name
        self.lake = lake
        self.topic = topic
        # Numbers of the records and the malformed messages in the files.
        self._written = (0, 0)
        lake.place.make_directory("weather")

    def transfer(self) -> None:
        """Transfers the messages that were produced since the last call to where the landing reads this source."""
        match self.name:
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
        path = [self.lake.place.export_url] if self.name == "files" else []
        return ["land", "--from", self.name, *path]

    def _write(self) -> None:
        """Writes files as the legacy exporter does, with some lines twice. They hold only malformed messages that are JSON."""
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
