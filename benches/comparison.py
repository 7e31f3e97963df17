"""What the suites share: how they are called, and how the times of rounds become a table, a verdict and a record.

A suite compares ways of doing one and the same work. The first is the yardstick; another may have a target, which says
how many times as fast as the yardstick it must be at least. Beside them stand amounts that have a limit.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from support import figures

# Rounds that nobody times: what a broker, a NameNode and a DataNode need until the compilers of their virtual machines are done,
# which take a core until then.
WARM_UPS = 12


@dataclass(frozen=True)
class Timing:
    """A line of the table about one way."""

    what: str
    seconds: list[float]
    target: float | None = None
    # Of the work, what was done in that time: a slow way shows its rate in a part of it.
    share: float = 1

    @property
    def median(self) -> float:
        """Of the whole work, at this rate."""
        return statistics.median(self.seconds) / self.share

    def speed(self, yardstick: "Timing") -> float:
        return yardstick.median / self.median

    def missed(self, yardstick: "Timing") -> bool:
        return self.target is not None and self.speed(yardstick) < self.target


@dataclass(frozen=True)
class Limit:
    """A line about amounts of which none may be larger."""

    what: str
    amounts: list[float]
    most: float
    in_words: Callable[[float], str]

    @property
    def missed(self) -> bool:
        return max(self.amounts) > self.most


def in_seconds(median: float) -> str:
    return f"{median:.3f} s"


def per_second(amount: float, unit: str) -> Callable[[float], str]:
    """The rate of somebody who gets so much done in that time."""
    return lambda median: f"{amount / median:.0f} {unit}/s"


def in_mib(amount: float) -> str:
    return f"{amount / 2**20:.0f} MiB"


def as_times(speed: float) -> str:
    return f"{speed:.1f}".removesuffix(".0") + " times"


def as_percent(speed: float) -> str:
    return f"{speed:.0%}"


@dataclass(frozen=True)
class Comparison:
    """What a suite is called, and how it words its table."""

    suite: str
    title: str
    # The work: what every way has to do, and how much of it.
    work: str
    # The heading over speeds.
    against: str
    speed_in_words: Callable[[float], str]
    median_in_words: Callable[[float], str] = in_seconds
    command: str = "make bench"

    def report(self, timings: list[Timing], limits: Sequence[Limit] = (), *, kept: bool) -> int:
        """Prints the table, keeps it, and returns the exit code: 1 when a target was missed."""
        rows = [self._cells(timing, timings[0]) for timing in timings] + [limit_cells(limit) for limit in limits]
        table = figures.table(["what", "median", "from to", self.against, "target"], rows)
        print(f"{figures.provenance()}\n{self.work}\n\n{table}")
        if not kept:
            return 0
        figures.keep(f"bench:{self.suite}", f"{self.title} (`{self.command}`)", f"{self.work}\n\n{table}")
        missed = [timing.what for timing in timings if timing.missed(timings[0])]
        missed += [limit.what for limit in limits if limit.missed]
        for what in missed:
            say(f"target missed: {what}")
        return 1 if missed else 0

    def _cells(self, timing: Timing, yardstick: Timing) -> tuple[str, ...]:
        spread = f"{min(timing.seconds):.3f} to {max(timing.seconds):.3f} s, {len(timing.seconds)} rounds"
        speed = "" if timing is yardstick else self.speed_in_words(timing.speed(yardstick))
        target = ""
        if timing.target is not None:
            target = f"{self.speed_in_words(timing.target)}: {'MISSED' if timing.missed(yardstick) else 'met'}"
        return timing.what, self.median_in_words(timing.median), spread, speed, target


def limit_cells(limit: Limit) -> tuple[str, ...]:
    words = limit.in_words
    spread = f"{words(min(limit.amounts))} to {words(max(limit.amounts))}, {len(limit.amounts)} rounds"
    target = f"at most {words(limit.most)}: {'MISSED' if limit.missed else 'met'}"
    return limit.what, words(statistics.median(limit.amounts)), spread, "", target


def arguments(about: str, **sizes: int) -> argparse.Namespace:
    """What the command line says: each size, `kept`; and `binary`, which comes from the environment."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"{default} unless given")
    parser.add_argument("--try-out", dest="kept", action="store_false", help="any size; neither judged nor kept")
    given = parser.parse_args()
    given.binary = os.environ.get("ISOBAR_BIN")
    if not given.binary:
        parser.error("ISOBAR_BIN names no binary: run `make bench` or `make bench-ingest`")
    return given


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
