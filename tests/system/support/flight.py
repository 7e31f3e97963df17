"""`isobar serve` as a process, and its clients: ADBC, bare pyarrow Flight, the JDBC driver, HTTP."""

import contextlib
import fcntl
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import pyarrow
import pyarrow.flight

from support.binary import TIMEOUT_S, REPOSITORY, Isobar, assert_no_canary
from support.web import Web

CACHE = Path(os.environ.get("ISOBAR_CACHE") or Path.home() / ".cache/isobar")
DRIVER = "18.3.0"


class Server(Web):
    """A running `isobar serve` on free ports."""

    def __init__(self, isobar: Isobar, *arguments: str, **variables: str):
        own = {"ISOBAR__SERVE__FLIGHT_LISTEN": "127.0.0.1:0", "ISOBAR__SERVE__HTTP_LISTEN": "127.0.0.1:0"}
        isobar = isobar.having(**own | variables)
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [isobar.binary, "serve", *arguments],
            cwd=isobar.directory,
            env=isobar.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        line = json.loads(self.wait_for("serving"))
        super().__init__(line["http"])
        self.flight = line["flight"]

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        log = "\n".join(self.log)
        assert_no_canary(log)
        assert "panicked at" not in log, log

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, message: str) -> str:
        """The next line of the log that has this message."""
        while True:
            line = self._lines.get(timeout=TIMEOUT_S)
            assert line is not None, f"ended without saying {message!r}:\n" + "\n".join(self.log)
            if f'"message":"{message}"' in line:
                return line

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """The exit code."""
        return self.process.wait(timeout=TIMEOUT_S)

    def connect(self, **options: str) -> adbc.Connection:
        return adbc.connect(f"grpc://{self.flight}", db_kwargs=options, autocommit=True)

    def rows(self, sql: str, parameters=None) -> list[dict]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetch_arrow_table().to_pylist()

    def client(self) -> pyarrow.flight.FlightClient:
        return pyarrow.flight.connect(f"grpc://{self.flight}")

    def running(self) -> int:
        return int(self.metric("isobar_queries_running"))

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) << 10


def message(fields: dict[int, str | bytes | bool | list]) -> bytes:
    """Encodes a protobuf message of texts, bytes and flags, without a library."""
    encoded = b""
    for number, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool):
                encoded += varint(number << 3) + varint(int(item))
            else:
                data = item.encode() if isinstance(item, str) else item
                encoded += varint(number << 3 | 2) + varint(len(data)) + data
    return encoded


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def fields(encoded: bytes) -> dict[int, list]:
    """The fields of a protobuf message, numbers and bytes, by their number."""
    found: dict[int, list] = {}
    at = 0
    while at < len(encoded):
        key, at = _read_varint(encoded, at)
        value, at = _read_varint(encoded, at)
        if key & 7 == 2:
            value, at = encoded[at : at + value], at + value
        found.setdefault(key >> 3, []).append(value)
    return found


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = encoded[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def packed(name: str, fields: dict[int, str | bytes | bool | list] | None = None) -> bytes:
    """A message of Flight SQL in its envelope."""
    return message({1: f"type.googleapis.com/arrow.flight.protocol.sql.{name}", 2: message(fields or {})})


def descriptor(
    name: str, fields: dict[int, str | bytes | bool | list] | None = None
) -> pyarrow.flight.FlightDescriptor:
    return pyarrow.flight.FlightDescriptor.for_command(packed(name, fields))


def statement(sql: str) -> pyarrow.flight.FlightDescriptor:
    return descriptor("CommandStatementQuery", {1: sql})


def ask(client: pyarrow.flight.FlightClient, of: pyarrow.flight.FlightDescriptor) -> pyarrow.Table:
    """All rows. Asserts that their schema is the announced one."""
    info = client.get_flight_info(of)
    [endpoint] = info.endpoints
    rows = client.do_get(endpoint.ticket).read_all()
    assert rows.schema == info.schema == client.get_schema(of).schema
    return rows


class Jdbc:
    """The JDBC driver in a Java process, with one request on each line; see flight_jdbc/Probe.java."""

    def __init__(self, server: Server):
        found = subprocess.run([REPOSITORY / "scripts" / "java17"], capture_output=True, text=True, check=True)
        home = found.stdout.strip()
        self._process = subprocess.Popen(
            [
                f"{home}/bin/java",
                "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "-Duser.timezone=UTC",
                "-Djava.util.logging.config.file=/dev/null",
                "-cp",
                str(_driver(home)),
                str(REPOSITORY / "tests/system/support/flight_jdbc/Probe.java"),
                f"jdbc:arrow-flight-sql://{server.flight}/?useEncryption=false",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Jdbc":
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=60)
        self._process.kill()
        self._process.wait()

    def ask(self, *request: str) -> list[dict]:
        answer = self._answer(request)
        assert isinstance(answer, list), f"{request}: {answer}"
        return answer

    def refused(self, *request: str) -> str:
        """The text of the exception of the driver."""
        answer = self._answer(request)
        assert isinstance(answer, dict), f"{request}: {answer}"
        return answer["error"]

    def _answer(self, request: tuple[str, ...]) -> list[dict] | dict:
        self._process.stdin.write("\t".join(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the Java process ended at {request}"
        return json.loads(line)


def _driver(java_home: str) -> Path:
    """The driver's jar, fetched with Maven into the cache once."""
    directory = CACHE / "jdbc"
    jar = directory / f"flight-sql-jdbc-driver-{DRIVER}.jar"
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / "lock"):
        if not jar.exists():
            # Copied to a temporary directory and moved from there, so that the jar is complete or absent.
            part = directory / "part"
            subprocess.run(
                [
                    "mvn",
                    "--batch-mode",
                    "--quiet",
                    "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
                    f"-Dartifact=org.apache.arrow:flight-sql-jdbc-driver:{DRIVER}",
                    f"-DoutputDirectory={part}",
                    f"-Dmaven.repo.local={CACHE / 'maven'}",
                ],
                env=os.environ | {"JAVA_HOME": java_home},
                check=True,
            )
            (part / jar.name).rename(jar)
    return jar


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
