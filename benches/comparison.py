"""What the benches share: their command line, and the table, the result and the record of their times.

A bench compares contenders at the same work. The first one is the baseline. A contender may have a target: how many times as
fast as the baseline it must be at least. The table also has amounts with a limit.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from support import figures

# Untimed rounds: until the JIT compilers of a broker, a NameNode and a DataNode are done, which use a core until then.
WARM_UPS = 12


@dataclass(frozen=True)
class Timing:
    """The times of one contender: a line of the table."""

    what: str
    seconds: list[float]
    target: float | None = None
    # The part of the work that was timed: a slow contender shows its rate in a part.
    share: float = 1

    @property
    def median(self) -> float:
        """Seconds of the whole work at this rate."""
        return statistics.median(self.seconds) / self.share

    def speed(self, baseline: "Timing") -> float:
        return baseline.median / self.median

    def missed(self, baseline: "Timing") -> bool:
        return self.target is not None and self.speed(baseline) < self.target


@dataclass(frozen=True)
class Limit:
    """Amounts with an upper limit: a line of the table."""

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
    """Formats the rate of a contender that does this amount in a number of seconds."""
    return lambda median: f"{amount / median:.0f} {unit}/s"


def in_mib(amount: float) -> str:
    return f"{amount / 2**20:.0f} MiB"


def as_times(speed: float) -> str:
    return f"{speed:.1f}".removesuffix(".0") + " times"


def as_percent(speed: float) -> str:
    return f"{speed:.0%}"


@dataclass(frozen=True)
class Comparison:
    """The name of a bench, and the texts of its table."""

    suite: str
    title: str
    # The work of every contender, with its size.
    work: str
    # The heading of the column of speeds.
    against: str
    speed_in_words: Callable[[float], str]
    median_in_words: Callable[[float], str] = in_seconds
    command: str = "make bench"

    def report(self, timings: list[Timing], limits: Sequence[Limit] = (), *, kept: bool) -> int:
        """Prints and records the table, and returns the exit code: 1 when a target was missed."""
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

    def _cells(self, timing: Timing, baseline: Timing) -> tuple[str, ...]:
        spread = f"{min(timing.seconds):.3f} to {max(timing.seconds):.3f} s, {len(timing.seconds)} rounds"
        speed = "" if timing is baseline else self.speed_in_words(timing.speed(baseline))
        target = ""
        if timing.target is not None:
            target = f"{self.speed_in_words(timing.target)}: {'MISSED' if timing.missed(baseline) else 'met'}"
        return timing.what, self.median_in_words(timing.median), spread, speed, target


def limit_cells(limit: Limit) -> tuple[str, ...]:
    words = limit.in_words
    spread = f"{words(min(limit.amounts))} to {words(max(limit.amounts))}, {len(limit.amounts)} rounds"
    target = f"at most {words(limit.most)}: {'MISSED' if limit.missed else 'met'}"
    return limit.what, words(statistics.median(limit.amounts)), spread, "", target


def arguments(about: str, **sizes: int) -> argparse.Namespace:
    """The arguments of the command line: each size and `kept`; and `binary`, from the environment."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"{default} unless given")
    parser.add_argument("--try-out", dest="kept", action="store_false", help="any size, without targets and record")
    given = parser.parse_args()
    given.binary = os.environ.get("ISOBAR_BIN")
    if not given.binary:
        parser.error("ISOBAR_BIN names no binary: run `make bench` or `make bench-ingest`")
    return given


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
