"""How fast the lake is against the older pipeline's MapReduce in Python, on one machine and a real HDFS.

Claims, over 100 cities and 30 days (432,000 export lines):
- landing them as tables takes at most a third of one pass of the baseline over the same files;
- the SELECT of the daily aggregation, warm, takes at most a hundredth of it.
Before anything is timed for the record, the results are compared: both must give the same rows.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))

from stack import Stack, session  # noqa: E402
from support import figures, oracle  # noqa: E402
from support.binary import HDFS_USER, parse_json  # noqa: E402
from support.weather_data import build, day_range, many_cities  # noqa: E402
from support.webhdfs import WebHdfs  # noqa: E402

QUERY = "weather/daily_weather_by_city"
EXPORT = f"/user/{HDFS_USER}/bench/weather"
LANDING_SHARE, SELECT_SHARE = 1 / 3, 1 / 100


@dataclass(frozen=True)
class Size:
    cities: int
    days: int
    rounds: int


@dataclass(frozen=True)
class Written:
    lines: int
    size: int


@dataclass(frozen=True)
class Timing:
    """One line of the table; `share` is the most that it may take of the baseline."""

    what: str
    seconds: list[float]
    share: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def within(self, baseline: "Timing") -> bool:
        return self.share is None or self.median <= self.share * baseline.median

    def cells(self, baseline: "Timing") -> tuple[str, ...]:
        ratio = "" if self is baseline else f"{baseline.median / self.median:.1f} times"
        target = (
            "" if self.share is None else f"{1 / self.share:.0f} times: {'met' if self.within(baseline) else 'MISSED'}"
        )
        spread = f"{min(self.seconds):.3f} to {max(self.seconds):.3f} s, {len(self.seconds)} rounds"
        return self.what, f"{self.median:.3f} s", spread, ratio, target


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cities", type=int, default=100)
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--rounds", type=int, default=5, help="of the SELECT; landing and baseline take three")
    arguments.add_argument("--try-out", action="store_true", help="any size; neither judged nor kept")
    given = arguments.parse_args()
    binary = os.environ.get("ISOBAR_BIN")
    if not binary:
        arguments.error("ISOBAR_BIN names no binary: run `make bench`")
    size = Size(given.cities, given.days, given.rounds)
    with session() as stack:
        written = write_export(stack, size)
        timings = measure(stack, binary, size)
    return report(timings, written, size, kept=not given.try_out)


def write_export(stack: Stack, size: Size) -> Written:
    """Make the export, a day at a time on every core, straight onto HDFS."""
    started = time.perf_counter()
    days = [(stack.http_url, n, day, size.cities) for n, day in enumerate(day_range(date(2026, 1, 1), size.days))]
    with multiprocessing.Pool() as pool:
        parts = pool.starmap(write_day, days, chunksize=1)
    written = Written(sum(part.lines for part in parts), sum(part.size for part in parts))
    say(f"{written.lines} lines, {written.size / 1e6:.0f} MB made and written in {time.perf_counter() - started:.0f} s")
    return written


def write_day(http_url: str, number: int, day: date, cities: int) -> Written:
    client = WebHdfs(http_url, HDFS_USER)
    export = build([day], many_cities(cities), partitions=3, file_hours=1, first_offset=number * 1_000_000)
    for path, data in export.files.items():
        client.write(f"{EXPORT}/{path}", data)
    return Written(len(export.records), sum(map(len, export.files.values())))


def measure(stack: Stack, binary: str, size: Size) -> list[Timing]:
    baseline, expected = [], ""
    for _ in range(3):
        expected, seconds = run_baseline(stack)
        baseline.append(seconds)
        say(f"baseline: {seconds:.2f} s")
    landing = []
    for n in range(3):
        lake = f"{stack.rpc_url}/user/{HDFS_USER}/bench/lake-{n}"
        started = time.perf_counter()
        isobar(stack, binary, lake, "land", "--from", "files", stack.rpc_url + EXPORT, "--once")
        landing.append(time.perf_counter() - started)
        say(f"landing: {landing[-1]:.2f} s")
    isobar(stack, binary, lake, "run", QUERY, "--all")
    found = isobar(stack, binary, lake, "sql", "--format", "json", "-c", "SELECT * FROM daily_weather_by_city").stdout
    rows = [json.loads(line) for line in expected.splitlines()]
    oracle.compare_daily(parse_json(found), {(row["dt"], row["city_id"]): row for row in rows})
    say(f"both give the same {len(rows)} rows")
    return [
        Timing("MapReduce baseline in Python, one pass over WebHDFS", baseline),
        Timing("`isobar land`, whole process, fresh lake", landing, LANDING_SHARE),
        Timing("SELECT of the daily aggregation over HDFS, warm", time_select(stack, binary, lake, size), SELECT_SHARE),
    ]


def run_baseline(stack: Stack) -> tuple[str, float]:
    command = [sys.executable, ROOT / "benches" / "mapreduce_baseline.py", stack.http_url, EXPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, float(done.stderr)


def time_select(stack: Stack, binary: str, lake: str, size: Size) -> list[float]:
    """Engine seconds of the query's own SELECT over all days at once, in one process, the first time left out."""
    lines = (ROOT / "queries" / f"{QUERY}.sql").read_text().splitlines()
    select = "\n".join(line for line in lines if not line.startswith("--!")).strip().rstrip(";")
    # A run asks for one day at a time; the claim is about all of them in one statement.
    select = select.replace("dt = $dt", "true")
    assert "$" not in select, f"parameters are left in {QUERY}:\n{select}"
    script = f"{select};\n" * (size.rounds + 1)
    done = isobar(stack, binary, lake, "sql", "--format", "csv", "--timing", "-f", "/dev/stdin", stdin=script)
    times = [float(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("time: ")]
    assert len(times) == size.rounds + 1, done.stderr
    say(f"SELECT: first {times[0]:.3f} s, then {', '.join(f'{t:.3f}' for t in times[1:])} s")
    return times[1:]


def isobar(stack: Stack, binary: str, lake: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    environment = os.environ | stack.client | {
        "ISOBAR__LAKE__URL": lake,
        "ISOBAR__EXPORT__BASE_PATH": EXPORT,
        "ISOBAR__QUERIES__PATH": str(ROOT / "queries"),
    }  # fmt: skip
    done = subprocess.run(
        [binary, *arguments], env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"isobar {' '.join(arguments)} exited with {done.returncode}:\n{done.stderr[-4000:]}")
    return done


def report(timings: list[Timing], written: Written, size: Size, *, kept: bool) -> int:
    [baseline, *_] = timings
    head = ["what", "median", "from to", "the baseline takes", "target"]
    table = figures.table(head, [timing.cells(baseline) for timing in timings])
    data = f"{size.cities} cities × {size.days} days, {written.lines} lines, {written.size / 1e6:.0f} MB on HDFS"
    print(f"{figures.provenance()}\n{data}\n\n{table}")
    if not kept:
        return 0
    figures.keep(
        "bench:lake", "Landing and aggregating against a MapReduce in Python (`make bench`)", f"{data}\n\n{table}"
    )
    missed = [timing.what for timing in timings if not timing.within(baseline)]
    for what in missed:
        say(f"target missed: {what}")
    return 1 if missed else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
