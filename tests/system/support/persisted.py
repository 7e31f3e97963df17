"""Every persisted form, written by one release and continued by another.

`write` has a release do its work, and keeps what that leaves: lakes, files, a spool, PostgreSQL and
HBase. `Kept` gives copies of it to tests. The expected messages are generated each time.
"""

import contextlib
import json
import re
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from confluent_kafka import TopicCollection

from support import delta, produced
from support.binary import Isobar
from support.database import ROLE, SECRET, Database
from support.hbase import connected
from support.lake import DAILY, DAILY_TABLE, Lake
from support.malformed import KINDS
from support.openweather import OpenWeather
from support.places import LocalPlace, Place
from support.service import Service
from support.topic import Topic, weather
from support.weather_data import (
    CITIES,
    BadLine,
    Export,
    Record,
    day_range,
    envelope,
    export_line,
    message,
    polls,
)
from support.web import eventually

DAYS = day_range(date(2026, 1, 15), 3)
# The first kind is well-formed by a declaration that accepts kelvin, the second one by none.
MENDED, MALFORMED = "Kelvin", "cut short"
TOPIC = "persisted-weather"
# Numbers of the first records that are consumed and exported, and that are consumed only.
EXPORTED, CONSUMED = 16, 20
HBASE_TABLE = "weather:persisted"
SPOOLED = 4


@dataclass(frozen=True)
class Release:
    """A binary and the query files of its commit."""

    binary: Path
    # Directory `queries` of a checkout.
    queries: Path

    def understanding(self) -> dict:
        """The query and the number of the semantics, whose change makes published days stale."""
        sources = (path.read_text() for path in self.queries.parent.rglob("*.rs"))
        numbers = [n for text in sources for n in re.findall(r"const SEMANTICS: u32 = (\d+);", text)]
        return {"semantics": numbers, "query": (self.queries / f"{DAILY}.sql").read_text()}

    def at(self, place: Place, directory: Path, **variables: str) -> Isobar:
        own = {"ISOBAR__QUERIES__PATH": str(self.queries)}
        return Isobar.at(str(self.binary), directory, place, **own | variables)


def write(release: Release, kept: Path, scratch: Path, stack) -> None:
    """Makes `release` write each form into `kept`, with `scratch` as temporary directory."""
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "understanding.json").write_text(json.dumps(release.understanding(), indent=1) + "\n")
    write_lake(release, kept, scratch, stack.variables("thrift"))
    write_pipeline(release, kept, scratch, stack.variables("kafka"), stack.variables("postgres"))
    write_spool(release, kept, scratch)


def exports() -> list[Export]:
    """One export for each day: a message of two cities every other hour, and two malformed lines."""
    return [_export(day, 1000 * (number + 1)) for number, day in enumerate(DAYS)]


def _export(day: date, first_offset: int) -> Export:
    polled = sorted((at, city) for city in CITIES[:2] for at in polls(city, [day], step_s=7200))
    records = [
        Record(city.id % 2, first_offset + number, at, message(city, at, forecasts=1))
        for number, (at, city) in enumerate(polled)
    ]
    path = f"dt={day}/weather_{day:%Y%m%d}T235959000000.json"
    lines = [export_line(record) for record in records]
    bad = []
    for number, kind in enumerate([MENDED, MALFORMED], len(records)):
        record = Record(0, first_offset + number, polled[-1][0], records[-1].value)
        damaged = KINDS[kind](envelope(record))
        bad.append(BadLine(path, number + 1, kind, damaged.raw, record.identity if damaged.identified else None))
        lines.append(damaged.raw)
    return Export({path: b"\n".join(lines) + b"\n"}, records, bad)


def write_lake(release: Release, kept: Path, scratch: Path, hbase: dict[str, str]) -> None:
    """Two days landed from files in several commits, and published as table, file and cells."""
    place = LocalPlace(scratch / "lake")
    lake = lake_of(release, place, scratch / "work", ISOBAR__LAND__ROWS_MAX="10", **with_hbase(hbase))
    first, second, _ = exports()
    lake.land_and_aggregate(first.files)
    for table in ["weather", "weather_forecast", "dead_letters", DAILY_TABLE]:
        delta.table(place, table).alter.set_table_properties({"delta.checkpointInterval": "2"})
    lake.land_and_aggregate(second.files)
    pack(place.root, kept / "lake.tar.xz")
    (kept / "hbase.json").write_text(json.dumps(cells(hbase), indent=1, sort_keys=True) + "\n")


def lake_of(release: Release, place: Place, directory: Path, **variables: str) -> Lake:
    return Lake(place, release.at(place, directory, **variables))


def with_hbase(hbase: dict[str, str]) -> dict[str, str]:
    """The variables that enable HBase."""
    return {"HBASE_ENABLED": "true", "ISOBAR__HBASE__TABLE": HBASE_TABLE, **hbase}


def cells(hbase: dict[str, str]) -> dict[str, dict[str, list]]:
    """Rows by key, columns by name: the newest value and its time in ms."""
    with connected(hbase, limit_s=60) as connection:
        scanned = connection.table(HBASE_TABLE).scan(include_timestamp=True)
        return {
            key.decode(): {column.decode(): [value.decode(), at] for column, (value, at) in columns.items()}
            for key, columns in scanned
        }


@contextlib.contextmanager
def loaded_cells(hbase: dict[str, str], rows: dict[str, dict[str, list]]) -> Iterator[None]:
    """HBase with the kept table, until the end of the block."""
    with connected(hbase, limit_s=60) as connection:
        drop_cells(hbase)
        connection.create_table(HBASE_TABLE, {"agg": {}})
        table = connection.table(HBASE_TABLE)
        for key, columns in rows.items():
            for column, (value, at) in columns.items():
                table.put(key.encode(), {column.encode(): value.encode()}, timestamp=at)
    try:
        yield
    finally:
        drop_cells(hbase)


def drop_cells(hbase: dict[str, str]) -> None:
    with connected(hbase, limit_s=60) as connection:
        if HBASE_TABLE.encode() in connection.tables():
            connection.delete_table(HBASE_TABLE, disable=True)


class Pipeline:
    """A topic, a database that has consumed it, exported files, and a lake that was landed from both."""

    def __init__(self, release: Release, place: Place, directory: Path, topic: Topic, database: Database):
        self.place, self.topic, self.database = place, topic, database
        variables = {
            "BOOTSTRAP_SERVERS": topic.servers,
            "TOPIC_NAME": topic.name,
            "ISOBAR__CONSUME__HTTP_LISTEN": "127.0.0.1:0",
            "ISOBAR__EXPORT__HTTP_LISTEN": "127.0.0.1:0",
        }
        self.lake = lake_of(release, place, directory, **variables | database.variables)

    def run(self, *arguments: str) -> str:
        return self.lake.isobar.ok(*arguments, "--once").stdout

    def exported(self) -> list[tuple[int, int]]:
        """The identities of the lines in the export files, including duplicates."""
        paths = [file.path for file in self.place.walk("weather") if file.path.endswith(".json")]
        lines = [json.loads(line) for path in paths for line in self.place.read(path).splitlines()]
        return sorted((line["kafka_partition"], line["kafka_offset"]) for line in lines)


def messages() -> list[Record]:
    """The messages of the topic, in order. Kafka assigns the same identities each time."""
    return weather(DAYS[:1], CITIES[:2])


def fill(topic: Topic, first: int, last: int) -> None:
    """Produces the messages of this range, the first ones with malformed ones in between."""
    topic.produce(messages()[first:last], kinds=[MALFORMED, "no weather"] if first == 0 else [])


def write_pipeline(
    release: Release, kept: Path, scratch: Path, kafka: dict[str, str], postgres: dict[str, str]
) -> None:
    with new_topic(kafka) as topic:
        database = Database(postgres)
        place = LocalPlace(scratch / "pipeline")
        pipeline = Pipeline(release, place, scratch / "work", topic, database)
        place.make_directory("weather")
        fill(topic, 0, EXPORTED)
        pipeline.run("consume")
        pipeline.run("export")
        pipeline.run("land", "--from", "kafka")
        fill(topic, EXPORTED, CONSUMED)
        pipeline.run("consume")
        pipeline.run("land", "--from", "postgres")
        pack(place.root, kept / "pipeline.tar.xz")
        (kept / "postgres.sql").write_text(dump(database))
        (kept / "topic_id").write_text(f"{topic_id(topic)}\n")


@contextlib.contextmanager
def new_topic(kafka: dict[str, str]) -> Iterator[Topic]:
    """The topic, empty, until the end of the block; the next of its name has another id."""
    topic = Topic(kafka, name=TOPIC)
    try:
        yield topic
    finally:
        topic.delete()
        eventually(lambda: TOPIC not in topic.admin.list_topics(timeout=30).topics, "the topic is deleted")


def topic_id(topic: Topic) -> uuid.UUID:
    described = topic.admin.describe_topics(TopicCollection([topic.name]))[topic.name].result(30).topic_id
    high, low = described.get_most_significant_bits(), described.get_least_significant_bits()
    return uuid.UUID(int=(high % 2**64) << 64 | low % 2**64)


def dump(database: Database) -> str:
    """Dumps the database as statements for any client."""
    command = [
        "pg_dump", "--inserts", "--no-owner", "--no-privileges",
        f"--host={database.host}", f"--port={database.port}", f"--username={ROLE}", database.name,
    ]  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", "PGPASSWORD": SECRET}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    # Without comments, commands of psql, and settings that an older server may not support.
    left_out = ("--", "\\", "SET ")
    lines = (line for line in done.stdout.splitlines() if line and not line.startswith(left_out))
    return "\n".join(lines) + "\n"


def restore(database: Database, statements: str) -> None:
    with database.connect() as connection:
        # All at once: only a query without parameters may have several statements.
        connection.execute(statements)


def write_spool(release: Release, kept: Path, scratch: Path) -> None:
    """Writes a spool: the process is killed while Kafka is unavailable."""
    spool = scratch / "spool"
    with OpenWeather(CITIES[:2], forecasts={city.id: 1 for city in CITIES[:2]}) as api:
        isobar = producer(release, LocalPlace(scratch / "produced"), spool, scratch / "work", api, produced.NOWHERE, "nowhere")
        with Service(isobar, "produce") as service:
            eventually(lambda: len(waiting(spool)) >= SPOOLED, "messages wait")
            service.kill()
    shutil.copytree(spool, kept / "spool", dirs_exist_ok=True)


def producer(
    release: Release, place: Place, spool: Path, directory: Path, api: OpenWeather, servers: str, topic: str
) -> Isobar:
    return release.at(place, directory, **produced.variables(api, servers, topic, spool))


def waiting(spool: Path) -> list[Path]:
    """The messages in a spool, oldest first."""
    return sorted(spool.glob("*.json"))


def pack(directory: Path, archive: Path) -> None:
    """Packs the directory into an archive that does not depend on its path and owner."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in sorted(directory.iterdir()):
            packed.add(path, path.name, filter=anonymous)


class Kept:
    """The files that a release has left in a directory, which is not changed."""

    def __init__(self, directory: Path):
        self.directory = directory

    def understanding(self) -> dict:
        return json.loads((self.directory / "understanding.json").read_text())

    def place(self, name: str, target: Path) -> LocalPlace:
        """A copy of the lake or of the pipeline's files."""
        with tarfile.open(self.directory / f"{name}.tar.xz") as packed:
            packed.extractall(target, filter="data")
        return LocalPlace(target)

    def spool(self, target: Path) -> list[bytes]:
        """A copy of the spool; the messages in it, oldest first."""
        shutil.copytree(self.directory / "spool", target)
        return [path.read_bytes() for path in waiting(target)]

    def cells(self) -> dict[str, dict[str, list]]:
        return json.loads((self.directory / "hbase.json").read_text())

    @contextlib.contextmanager
    def pipeline(
        self, release: Release, directory: Path, kafka: dict[str, str], postgres: dict[str, str]
    ) -> Iterator[Pipeline]:
        """The kept pipeline, with the new id that Kafka assigns to the topic."""
        place = self.place("pipeline", directory / "pipeline")
        before = uuid.UUID((self.directory / "topic_id").read_text().strip())
        with new_topic(kafka) as topic:
            fill(topic, 0, EXPORTED)
            fill(topic, EXPORTED, CONSUMED)
            after = topic_id(topic)
            for entry in (place.root / "lake").glob("*/_delta_log/*.json"):
                text = entry.read_text()
                for old, new in zip(halves(before), halves(after), strict=True):
                    text = text.replace(f'"version":{old}', f'"version":{new}')
                entry.write_text(text)
            database = Database(postgres)
            restore(database, (self.directory / "postgres.sql").read_text().replace(str(before), str(after)))
            yield Pipeline(release, place, directory / "work", topic, database)


def halves(topic: uuid.UUID) -> list[int]:
    """The id as in the logs of tables: two signed integers."""
    return [int.from_bytes(topic.bytes[start : start + 8], "big", signed=True) for start in (0, 8)]


def transactions(place: Place, table: str) -> set[str]:
    """The app ids in the JSON entries of the log of a table."""
    return {action["txn"]["appId"] for action in delta.all_actions(place, table) if "txn" in action}
