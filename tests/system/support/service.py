"""A service of `isobar` as a process: its log, its health and metrics over HTTP, its end."""

import json
import queue
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from support.binary import PATIENCE_S, Isobar, assert_no_canary


class Service:
    """A running service. Its log is watched for secrets and panics when it has ended."""

    def __init__(self, isobar: Isobar, *arguments: str):
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [isobar.binary, *arguments],
            cwd=isobar.directory,
            env=isobar.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # The line with its addresses.
        self.said = self.wait_for("serving")
        self.http = self.said["http"]

    def __enter__(self):
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

    def wait_for(self, message: str) -> dict:
        """The next line of the log that has this message, by its fields."""
        while True:
            line = self._lines.get(timeout=PATIENCE_S)
            assert line is not None, f"ended without saying {message!r}:\n" + "\n".join(self.log)
            if f'"message":"{message}"' in line:
                return json.loads(line)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self) -> int:
        """The exit code."""
        return self.process.wait(timeout=PATIENCE_S)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Of one series; none is nought."""
        status, text = self.get("/metrics")
        assert status == 200 and text.endswith("# EOF\n"), text
        found = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.rsplit(" ", 1)[0] == name]
        return float(found[0]) if found else 0.0


def eventually(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Asks again and again until it is so."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)
