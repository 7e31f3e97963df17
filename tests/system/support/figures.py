"""Recorded figures: tests and benches record rows, and docs/figures.md keeps the newest table of each suite.

As a pytest plugin it gives the fixture `figures`; each file's table is written when `ISOBAR_TEST_LONG=1`, printed always.
"""

import os
import platform
import subprocess
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
FIGURES = REPOSITORY / "docs" / "figures.md"


# Rows of (subject, figure), by the name of the test file that recorded them.
Rows = defaultdict[str, list[tuple[str, str]]]


class Figures:
    """Records the rows of the tests in one file."""

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self._rows = rows

    def record(self, what: str, figure: object) -> None:
        self._rows.append((what, str(figure)))


def table(self) -> str:
        return table(["what", "figure"], self.rows)


def table(head: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def provenance() -> str:
    """Date, commit and machine."""
    changed = _git("status", "--porcelain", "--", ".", ":!docs/figures.md")
    commit = _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    cores = len(os.sched_getaffinity(0))
    machine = f"{cores} {'core' if cores == 1 else 'cores'}, {_processor()}, {_memory_gib()} GiB, {platform.system()}"
    return f"{datetime.now(timezone.utc).date()} · commit `{commit}` · {machine}"


def keep(suite: str, title: str, body: str, path: Path = FIGURES) -> None:
    """Replace the suite's section between its markers, or add it at the end."""
    begin, end = f"<!-- {suite} begin -->", f"<!-- {suite} end -->"
    section = f"{begin}\n## {title}\n\n{provenance()}\n\n{body}\n{end}"
    text = path.read_text() if path.exists() else "# Figures\n\nWritten by `make bench`, `make bench-ingest` and `make test-long`.\n"
    if begin in text and end in text:
        head, rest = text.split(begin, 1)
        text = head + section + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _git(*arguments: str) -> str:
    answer = subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or ("" if answer.returncode == 0 else "unknown")


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory_gib() -> int:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / 2**20)
    return 0


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


_SESSION: Rows = defaultdict(list)


@pytest.fixture(scope="module")
def figures(request) -> Figures:
    return Figures(_SESSION[request.path.stem])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Collects the rows of a test process that has ended."""
    for file, rows in getattr(node, "workeroutput", {}).get("figures", {}).items():
        _SESSION[file].extend(map(tuple, rows))


def pytest_sessionfinish(session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = dict(_SESSION)


def pytest_terminal_summary(terminalreporter, exitstatus: int) -> None:
    if hasattr(terminalreporter.config, "workeroutput"):
        return  # The main process has all rows, and knows whether a test failed.
    for file, rows in sorted(_SESSION.items()):
        if not rows:
            continue
        # The order of the tests is random.
        of_file = table(["what", "figure"], sorted(rows))
        terminalreporter.section(f"figures of {file}")
        terminalreporter.write_line(of_file)
        # A failed run is no record.
        if exitstatus == 0 and os.environ.get("ISOBAR_TEST_LONG") == "1":
            keep(f"test-long:{file}", f"{file}.py with the full counts (`make test-long`)", of_file)
