"""Health, readiness and metrics of a running isobar, over HTTP."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from support.binary import PATIENCE_S, Process


class Web:
    """What is told at one address."""

    def __init__(self, address: str):
        self.http = address

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """By series, as they are written."""
        status, text = self.get("/metrics")
        assert status == 200 and text.endswith("# EOF\n"), text
        series = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in series}

    def metric(self, name: str) -> float:
        """Of one series; none is nought."""
        return self.metrics().get(name, 0.0)

    def wait_until_ready(self, within_s: float = 60) -> None:
        """It answers before it has done its first step, and says no when a server of its own is slow for a moment."""
        eventually(lambda: self.get("/readyz") == (200, "ready\n"), "it is ready", within_s)


def web_of(process: Process) -> Web:
    """Where a process in the background tells of itself, once its log says so."""
    found = []

    def listens() -> bool:
        assert process.poll() is None, process.said()
        lines = (json.loads(line) for line in process.said().splitlines(keepends=True) if line.endswith("\n"))
        found.extend(line["http"] for line in lines if line["message"] == "listening")
        return bool(found)

    eventually(listens, "it listens", PATIENCE_S)
    return Web(found[0])


def eventually(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Asks again and again until it is so."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)
