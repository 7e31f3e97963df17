"""Health, readiness and metrics of a running isobar, over HTTP."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from support.binary import TIMEOUT_S, Process


class Web:
    """The pages at one address."""

    def __init__(self, address: str):
        self.http = address

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Values by series."""
        status, text = self.get("/metrics")
        assert status == 200 and text.endswith("# EOF\n"), text
        series = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in series}

    def metric(self, name: str) -> float:
        """The value of one series; 0 if it is absent."""
        return self.metrics().get(name, 0.0)

    def wait_until_ready(self, within_s: float = 60) -> None:
        """Waits for readiness: the service listens before its first step, and a slow server makes it not ready for a moment."""
        eventually(lambda: self.get("/readyz") == (200, "ready\n"), "it is ready", within_s)


def web_of(process: Process) -> Web:
    """The pages of a background process, once its log has the address."""
    found = []

    def listens() -> bool:
        assert process.poll() is None, process.said()
        lines = (json.loads(line) for line in process.said().splitlines(keepends=True) if line.endswith("\n"))
        found.extend(line["http"] for line in lines if line["message"] == "listening")
        return bool(found)

    eventually(listens, "it listens", TIMEOUT_S)
    return Web(found[0])


def eventually(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Polls until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)
