"""A PostgreSQL database under test. Its user owns it, and no output may show the password."""

import uuid
from datetime import datetime
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

from support.binary import CANARIES
from support.weather_data import PARIS, Record, encode

UTC = ZoneInfo("UTC")
ROLE = "weather_service"
SECRET = CANARIES["POSTGRES_PASSWORD"]


class Database:
    """A new database, with queries for tests, and with the variables for isobar."""

    def __init__(self, postgres: dict[str, str]):
        self.host, self.port = postgres["POSTGRES_HOST"], postgres["POSTGRES_PORT"]
        self.name = f"weather_{uuid.uuid4().hex[:8]}"
        # The password is the canary that every environment has.
        self.variables = {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": self.port,
            "POSTGRES_DB": self.name,
            "POSTGRES_USER": ROLE,
        }
        self._administrator = (postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"])
        role, name = sql.Identifier(ROLE), sql.Identifier(self.name)
        with self._connect(postgres["POSTGRES_DB"], *self._administrator) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(SECRET)))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, role))

    def _connect(self, name: str, user: str, password: str) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host, port=self.port, dbname=name, user=user, password=password, connect_timeout=30,
            autocommit=True,
        )  # fmt: skip

    def connect(self) -> psycopg.Connection:
        """Commits each statement; for a `with` block."""
        return self._connect(self.name, ROLE, SECRET)

    def as_administrator(self) -> psycopg.Connection:
        return self._connect(self.name, *self._administrator)

    def drop(self) -> None:
        with self._connect("postgres", *self._administrator) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

    def rows(self, statement: str, parameters=()) -> list[tuple]:
        with self.connect() as connection:
            return connection.execute(statement, parameters).fetchall()

    def scalar(self, statement: str):
        [[value]] = self.rows(statement)
        return value

    def run(self, statement: str, parameters=()) -> None:
        with self.connect() as connection:
            connection.execute(statement, parameters)

    def has(self, table: str) -> bool:
        return self.rows("SELECT to_regclass(%s) IS NOT NULL", [table]) == [(True,)]

    def count(self) -> int:
        return self.scalar("SELECT count(*) FROM weather") if self.has("weather") else 0

    def identities(self) -> list[tuple[int, int]]:
        """The identities in table `weather`, including duplicates."""
        return sorted(self.rows("SELECT partition, msg_offset FROM weather"))

    def legacy_table(self, records: list[Record]) -> None:
        """Creates and fills the table as the legacy consumer does."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE weather (date_time TIMESTAMP, msg_offset BIGINT, partition INT, value JSONB)")
            with cursor.copy("COPY weather FROM STDIN") as copy:
                for record in records:
                    value = encode(record.value).decode()
                    copy.write_row([local(record.event_at), record.offset, record.partition, value])


def local(epoch_s: int) -> datetime:
    """The local time of Paris without an offset."""
    return datetime.fromtimestamp(epoch_s, PARIS).replace(tzinfo=None)


def compare_weather(database: Database, records: list[Record], topic: str) -> None:
    """Asserts that table `weather` has each of these records once, and nothing else."""
    found = database.rows("SELECT topic, partition, msg_offset, date_time, event_time, value FROM weather")
    by_identity = {(row[1], row[2]): row for row in found}
    assert len(by_identity) == len(found), "an identity stands twice"
    assert by_identity.keys() == {record.identity for record in records}
    for record in records:
        row = by_identity[record.identity]
        assert row[0] == topic
        assert row[3] == local(record.event_at)
        assert row[4] == datetime.fromtimestamp(record.event_at, UTC)
        assert row[5] == record.value
