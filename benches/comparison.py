"""What the suites share: how they are called, and how the times of rounds become a table, a verdict and a record.

A suite compares ways of doing one and the same work. The first is the yardstick; another may have a target, which says
how many times as fast as the yardstick it must be at least.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

from support import figures


@dataclass(frozen=True)
class Timing:
    """One line of the table."""

    what: str
    seconds: list[float]
    target: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def speed(self, yardstick: "Timing") -> float:
        return yardstick.median / self.median

    def missed(self, yardstick: "Timing") -> bool:
        return self.target is not None and self.speed(yardstick) < self.target


def in_seconds(median: float) -> str:
    return f"{median:.3f} s"


def per_second(amount: float, unit: str) -> Callable[[float], str]:
    """The rate of somebody who gets so much done in that time."""
    return lambda median: f"{amount / median:.0f} {unit}/s"


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

    def report(self, timings: list[Timing], *, kept: bool) -> int:
        """Prints the table, keeps it, and returns the exit code: 1 when a target was missed."""
        yardstick = timings[0]
        head = ["what", "median", "from to", self.against, "target"]
        table = figures.table(head, [self._cells(timing, yardstick) for timing in timings])
        print(f"{figures.provenance()}\n{self.work}\n\n{table}")
        if not kept:
            return 0
        figures.keep(f"bench:{self.suite}", f"{self.title} (`make bench`)", f"{self.work}\n\n{table}")
        missed = [timing.what for timing in timings if timing.missed(yardstick)]
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


def arguments(about: str, **sizes: int) -> argparse.Namespace:
    """What the command line says: each size, `kept`; and `binary`, which comes from the environment."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default} unless given")
    parser.add_argument("--try-out", dest="kept", action="store_false", help="any size; neither judged nor kept")
    given = parser.parse_args()
    given.binary = os.environ.get("ISOBAR_BIN")
    if not given.binary:
        parser.error("ISOBAR_BIN names no binary: run `make bench`")
    return given


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
