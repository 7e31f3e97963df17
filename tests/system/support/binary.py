"""The `isobar` binary, run as a process with its own environment."""

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
# Secrets in every environment. No output of any command may contain one.
CANARIES = {
    "OPENWEATHER_API_KEY": "canary-openweather-5f1d7c",
    "POSTGRES_PASSWORD": "canary-postgres-8a2b90",
}
# All secrets, including those of the servers, have this prefix.
CANARY = re.compile(r"canary-[\w-]+")
# A generous limit for a debug build on a busy machine.
TIMEOUT_S = 300


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
        # The working directory: empty, so that isobar.toml and .env of the checkout are not read.
        self.directory = directory
        self.variables = variables
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def at(cls, binary: str, directory: Path, place: Place, **variables: str) -> "Isobar":
        """Configured with the lake and the export directory of the place."""
        own = {"ISOBAR__LAKE__URL": place.lake_url, "ISOBAR__EXPORT__BASE_PATH": place.base_path}
        return cls(binary, directory, own | variables)

    def having(self, **variables: str | None) -> "Isobar":
        """The same binary with other variables. None removes a variable."""
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
            # Several landings run in parallel.
            "ISOBAR__LAND__HTTP_LISTEN": "127.0.0.1:0",
        }
        given = basic | CANARIES | self.variables
        return {name: value for name, value in given.items() if value is not None}

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        timeout_s: float = TIMEOUT_S,
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
        """Asserts that the command exits with `code`, and that stderr matches every pattern of `says`."""
        outcome = self.run(*arguments, timeout_s=within_s, **options)
        assert outcome.code == code, outcome
        for pattern in says:
            assert re.search(pattern, outcome.stderr, re.IGNORECASE), f"stderr does not say {pattern!r}: {outcome}"
        return outcome

    def start(self, *arguments: str) -> "Process":
        """Starts the command in the background. The caller ends it."""
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
    """The binary in the background. Its stdout is dropped, and its stderr kept."""

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
        """Ends the process in any case."""
        if self.poll() is None:
            self.kill()
        super().__exit__(*exception)

    def wait_and_weigh(self, timeout_s: float = TIMEOUT_S) -> int:
        """Waits for the end, and returns the peak memory in bytes.

        Polls, because the kernel's figure of an ended child includes the memory of the process that forked it.
        """
        deadline, peak = time.monotonic() + timeout_s, 0
        while self.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self.said()}"
            status = Path(f"/proc/{self.pid}/status").read_text()
            # A zombie process holds no memory.
            peak = max([peak, *(int(kib) << 10 for kib in re.findall(r"VmHWM:\s+(\d+) kB", status))])
            time.sleep(0.02)
        return peak

    def said(self) -> str:
        """The text of stderr so far."""
        # Not by seek and read: the process writes at the position of the same open file.
        file = self._stderr.fileno()
        text = os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
        assert_no_canary(text)
        return text


def cpu_of_children_s() -> float:
    """CPU time of the child processes that have ended, in seconds."""
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
    """The binary on a pseudo-terminal."""

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
        """Waits until the output since the last match contains the pattern."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.screen)):
            assert time.monotonic() < deadline and self._read(deadline), f"no {pattern!r} on the screen: {self.screen}"
        self.screen = self.screen[match.end() :]
        return match

    def wait(self, timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
        """The exit code and the rest of the screen."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            assert time.monotonic() < deadline, f"still running: {self.screen}"
        _, status = os.waitpid(self.process_id, 0)
        self.process_id = 0
        assert_no_canary(self.screen)
        return os.waitstatus_to_exitcode(status), self.screen

    def _read(self, deadline: float) -> bool:
        """Reads the available output, or waits for some. False at the end of the output."""
        ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65_536)
        except OSError:  # the other side has closed
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)
