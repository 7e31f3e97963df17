"""The real `isobar` as a person runs it: a process with an environment of its own, never that of the tests."""

import csv
import io
import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.places import Place

REPOSITORY = Path(__file__).resolve().parents[3]
HDFS_USER = "hdfs"
# Stand in every environment as secrets; no output of any command may show one.
CANARIES = {
    "OPENWEATHER_API_KEY": "canary-openweather-5f1d7c",
    "POSTGRES_PASSWORD": "canary-postgres-8a2b90",
}
# Those of the servers, which only some environments have. All begin alike, and none may show either.
CANARY = re.compile(r"canary-[\w-]+")
# Not a measurement: far beyond what a debug build on a busy machine needs.
PATIENCE_S = 300


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_s: float

    def __str__(self) -> str:
        return (
            f"isobar {' '.join(self.arguments)} ended with {self.code} after {self.seconds:.1f} s\n"
            f"--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-8000:]}"
        )


class Isobar:
    """The binary with one configuration, given by variables."""

    def __init__(self, binary: str, directory: Path, variables: dict[str, str | None]):
        self.binary = binary
        # The working directory: empty, so that no isobar.toml and no .env of the checkout is met.
        self.directory = directory
        self.variables = variables
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def at(cls, binary: str, directory: Path, place: Place, **variables: str) -> "Isobar":
        """With the place's lake and export folder."""
        own = {"ISOBAR__LAKE__URL": place.lake_url, "ISOBAR__EXPORT__BASE_PATH": place.base_path}
        return cls(binary, directory, own | variables)

    def having(self, **variables: str | None) -> "Isobar":
        """The same with other variables; None takes one away."""
        return Isobar(self.binary, self.directory, self.variables | variables)

    def environment(self) -> dict[str, str]:
        basic = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "RUST_BACKTRACE": "0",
            "HDFS_USER": HDFS_USER,
            "ISOBAR__QUERIES__PATH": str(REPOSITORY / "queries"),
            # Several landings run side by side.
            "ISOBAR__LAND__HTTP_LISTEN": "127.0.0.1:0",
        }
        given = basic | CANARIES | self.variables
        return {name: value for name, value in given.items() if value is not None}

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        timeout_s: float = PATIENCE_S,
        before_exec: Callable[[], None] | None = None,
    ) -> Outcome:
        started, before_s = time.monotonic(), cpu_of_children_s()
        process = subprocess.run(
            [self.binary, *arguments],
            input=stdin.encode(),
            capture_output=True,
            cwd=self.directory,
            env=self.environment(),
            timeout=timeout_s,
            preexec_fn=before_exec,
            check=False,
        )
        seconds = time.monotonic() - started
        outcome = Outcome(
            arguments,
            process.returncode,
            process.stdout.decode(errors="replace"),
            process.stderr.decode(errors="replace"),
            seconds,
            cpu_of_children_s() - before_s,
        )
        assert_no_canary(outcome.stdout + outcome.stderr)
        assert "panicked at" not in outcome.stderr, outcome
        return outcome

    def ok(self, *arguments: str, **options) -> Outcome:
        outcome = self.run(*arguments, **options)
        assert outcome.code == 0, outcome
        return outcome

    def refused(self, *arguments: str, code: int, says: list[str], within_s: float = 30, **options) -> Outcome:
        """Must end by itself with `code`; every pattern of `says` must be found in what it prints to stderr."""
        outcome = self.run(*arguments, timeout_s=within_s, **options)
        assert outcome.code == code, outcome
        for pattern in says:
            assert re.search(pattern, outcome.stderr, re.IGNORECASE), f"stderr does not say {pattern!r}: {outcome}"
        return outcome

    def start(self, *arguments: str) -> "Process":
        """In the background; the caller ends it."""
        return Process(self, *arguments)

    def land(self, path: str, **options) -> Outcome:
        return self.ok("land", "--from", "files", path, "--once", **options)

    def query(self, sql: str) -> list[dict]:
        """The rows of a SELECT, by column."""
        return parse_json(self.ok("sql", "--format", "json", "-c", sql).stdout)

    def scalar(self, sql: str):
        [row] = self.query(sql)
        [value] = row.values()
        return value


class Process(subprocess.Popen):
    """The binary in the background: its results are thrown away, what it says to stderr is kept."""

    def __init__(self, isobar: Isobar, *arguments: str):
        self._stderr = tempfile.TemporaryFile()
        super().__init__(
            [isobar.binary, *arguments],
            cwd=isobar.directory,
            env=isobar.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
        )

    def __exit__(self, *exception) -> None:
        """Whatever happened, it ends here."""
        if self.poll() is None:
            self.kill()
        super().__exit__(*exception)

    def wait_and_weigh(self, timeout_s: float = PATIENCE_S) -> int:
        """Waits for the end, and tells the most memory that it held, in bytes.

        Looked at all the time, because what the kernel says of an ended child counts the memory of whoever forked it.
        """
        deadline, peak = time.monotonic() + timeout_s, 0
        while self.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self.said()}"
            status = Path(f"/proc/{self.pid}/status").read_text()
            # A process that has ended and is not yet waited for holds nothing.
            peak = max([peak, *(int(kib) << 10 for kib in re.findall(r"VmHWM:\s+(\d+) kB", status))])
            time.sleep(0.02)
        return peak

    def said(self) -> str:
        """What it has said to stderr so far."""
        # Not by seek and read: the process writes at the position of the same open file.
        file = self._stderr.fileno()
        text = os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
        assert_no_canary(text)
        return text


def cpu_of_children_s() -> float:
    """Of those that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parse_json(text: str) -> list[dict]:
    """One array of objects, or one object a line."""
    text = text.strip()
    if text.startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines()]


def parse_csv(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def assert_no_canary(text: str) -> None:
    shown = CANARY.findall(text)
    assert not shown, f"the output shows the secrets {shown}"


class Terminal:
    """The binary on a pseudo-terminal, as a person at a keyboard has it."""

    def __init__(self, isobar: Isobar, *arguments: str):
        self.screen = ""
        self.process_id, self.fd = pty.fork()
        if self.process_id == 0:
            os.chdir(isobar.directory)
            os.execve(isobar.binary, [isobar.binary, *arguments], isobar.environment() | {"TERM": "xterm-256color"})

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_) -> None:
        if self.process_id:
            os.kill(self.process_id, signal.SIGKILL)
            os.waitpid(self.process_id, 0)
        os.close(self.fd)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, pattern: str, timeout_s: float = 60) -> re.Match:
        """Until what has come since the last match contains the pattern."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.screen)):
            assert time.monotonic() < deadline and self._read(deadline), f"no {pattern!r} on the screen: {self.screen}"
        self.screen = self.screen[match.end() :]
        return match

    def wait(self, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """The exit code and the rest of the screen."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            assert time.monotonic() < deadline, f"still running: {self.screen}"
        _, status = os.waitpid(self.process_id, 0)
        self.process_id = 0
        assert_no_canary(self.screen)
        return os.waitstatus_to_exitcode(status), self.screen

    def _read(self, deadline: float) -> bool:
        """Take what is there, or wait for it; false at the end of the output."""
        ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65_536)
        except OSError:  # the other side has closed
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)
