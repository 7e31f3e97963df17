"""How fast `isobar land` brings a topic into the lake on a real HDFS, against kcat, which reads it and drops the messages.

Claims, for messages in three topic partitions of a real broker, all of them from the beginning, both as whole processes:
- of 1.5 KB, without forecasts: at least 40 % of the messages a second;
- of 19 KB, whose forecasts are landed as table `weather_forecast` too: at least 20 % of the megabytes a second;
- a landing holds at most 512 MiB of memory, for either size and any backlog.
With `--cores 1` all processes, including the servers, share that many cores. Reading hardly needs more than one and landing uses
all of them, so the result depends on the number of cores. Such a run is recorded separately and has no targets.

Every landing fills a new lake, and counts only if the lake then has each message of the topic and each step of its forecast
once.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backlog import Backlog, Landing, fill, lake_of, land
from comparison import WARM_UPS, Comparison, Limit, Timing, arguments, as_percent, in_mib, per_second, say
from stack import Stack, session
from support.topic import Topic

MEMORY_MAX = 512 << 20


@dataclass(frozen=True)
class Claim:
    """The targets for messages of one size."""

    suite: str
    title: str
    target: float | None
    rate_in_words: Callable[[Backlog], Callable[[float], str]]
    command: str = "make bench-ingest"

    def on(self, cores: int) -> "Claim":
        """The claim of a run with fewer cores, which has no targets."""
        return replace(
            self, suite=f"{self.suite}-cores-{cores}", target=None, command=f"benches/run kafka --cores {cores}"
        )


SMALL = Claim(
    "kafka",
    "Landing a Kafka topic against reading it with kcat",
    0.4,
    lambda backlog: per_second(backlog.messages, "messages"),
)
LARGE = Claim(
    "kafka-forecasts",
    "Landing a Kafka topic with forecasts against reading it with kcat",
    0.2,
    lambda backlog: per_second(backlog.size / 1e6, "MB"),
)


def main() -> int:
    given = arguments(__doc__, cities=100, days=35, forecast_cities=40, forecast_days=5, rounds=5, cores=0)
    if given.cores:
        # Processes that are started later inherit it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    outcomes = []
    with session() as stack, tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        stack.start("kafka")
        for claim, cities, days, forecasts in (
            (SMALL, given.cities, given.days, 0),
            (LARGE, given.forecast_cities, given.forecast_days, 40),
        ):
            backlog = fill(Topic(stack.variables("kafka")), cities, days, forecasts)
            reading, landings = measure(stack, given.binary, Path(directory) / claim.suite, backlog, given.rounds)
            shown = claim.on(given.cores) if given.cores else claim
            outcomes.append(report(shown, backlog, reading, landings, kept=given.kept))
    return max(outcomes)


def report(claim: Claim, backlog: Backlog, reading: list[float], landings: list[Landing], *, kept: bool) -> int:
    comparison = Comparison(
        suite=claim.suite,
        title=claim.title,
        work=backlog.in_words,
        against="of kcat",
        speed_in_words=as_percent,
        median_in_words=claim.rate_in_words(backlog),
        command=claim.command,
    )
    timings = [
        Timing("`kcat -C -e -q` to /dev/null, whole process", reading),
        Timing(
            "`isobar land --from kafka --once`, whole process, fresh lake on HDFS",
            [landing.seconds for landing in landings],
            claim.target,
        ),
    ]
    memory = Limit("most memory that the landing held", [landing.peak for landing in landings], MEMORY_MAX, in_mib)
    return comparison.report(timings, [memory], kept=kept)


def measure(
    stack: Stack, binary: str, directory: Path, backlog: Backlog, rounds: int
) -> tuple[list[float], list[Landing]]:
    """Returns the seconds of reading, and the landings."""
    offsets = read(backlog.topic, "-f", "%o\n", stdout=subprocess.PIPE).stdout
    assert offsets.count(b"\n") == backlog.messages, "kcat reads another number of messages"
    reading, landings = [], []
    for n in range(WARM_UPS + rounds):
        started = time.perf_counter()
        read(backlog.topic)
        seconds = time.perf_counter() - started
        lake = lake_of(stack, binary, directory.with_name(f"{directory.name}-{n}"), backlog.topic)
        landing = land(lake, backlog)
        lake.place.delete("lake")
        if n < WARM_UPS:
            continue
        reading.append(seconds)
        landings.append(landing)
        say(f"round {len(landings)}: kcat {seconds:.2f} s, isobar {landing.seconds:.2f} s, {in_mib(landing.peak)}")
    return reading, landings


def read(topic: Topic, *options: str, stdout: int = subprocess.DEVNULL) -> subprocess.CompletedProcess:
    command = ["kcat", "-C", "-e", "-q", "-b", topic.servers, "-t", topic.name, "-o", "beginning", *options]
    return subprocess.run(command, stdout=stdout, check=True)


if __name__ == "__main__":
    sys.exit(main())
