"""How fast the lake is against the legacy pipeline's MapReduce in Python, on one machine and a real HDFS.

Claims, over 100 cities and 30 days (432,000 export lines):
- landing them as tables takes at most a third of one pass of the baseline over the same files;
- the SELECT of the daily aggregation, warm, takes at most a hundredth of it.
All are timed on servers that have warmed up. Before anything is timed for the record, the results are compared: both must give
the same rows.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date

from comparison import WARM_UPS, Comparison, Timing, arguments, as_times, say
from stack import Stack, session
from support import oracle
from support.binary import HDFS_USER, REPOSITORY, parse_json
from support.weather_data import build, day_range, many_cities
from support.webhdfs import WebHdfs

QUERY = "weather/daily_weather_by_city"
EXPORT = f"/user/{HDFS_USER}/bench/weather"
LANDING_TARGET, SELECT_TARGET = 3, 100


@dataclass(frozen=True)
class Written:
    lines: int
    size: int


def main() -> int:
    given = arguments(__doc__, cities=100, days=30, rounds=5)
    with session() as stack:
        written = write_export(stack, given.cities, given.days)
        timings = measure(stack, given.binary, given.rounds)
    comparison = Comparison(
        suite="lake",
        title="Landing and aggregating against a MapReduce in Python",
        work=f"{given.cities} cities × {given.days} days, {written.lines} lines, {written.size / 1e6:.0f} MB on HDFS",
        against="the baseline takes",
        speed_in_words=as_times,
    )
    return comparison.report(timings, kept=given.kept)


def write_export(stack: Stack, cities: int, days: int) -> Written:
    """Writes the export files to HDFS; each core writes one day at a time."""
    started = time.perf_counter()
    parts = [(stack.http_url, n, day, cities) for n, day in enumerate(day_range(date(2026, 1, 1), days))]
    with multiprocessing.Pool() as pool:
        parts = pool.starmap(write_day, parts, chunksize=1)
    written = Written(sum(part.lines for part in parts), sum(part.size for part in parts))
    say(f"{written.lines} lines, {written.size / 1e6:.0f} MB made and written in {time.perf_counter() - started:.0f} s")
    return written


def write_day(http_url: str, number: int, day: date, cities: int) -> Written:
    client = WebHdfs(http_url, HDFS_USER)
    export = build([day], many_cities(cities), partitions=3, file_hours=1, first_offset=number * 1_000_000)
    for path, data in export.files.items():
        client.write(f"{EXPORT}/{path}", data)
    return Written(len(export.records), sum(map(len, export.files.values())))


def measure(stack: Stack, binary: str, rounds: int) -> list[Timing]:
    lake = f"{stack.rpc_url}/user/{HDFS_USER}/bench/lake"
    baseline, landing = [], []
    for n in range(WARM_UPS + rounds):
        seconds = land(stack, binary, f"{lake}-{n}")
        if n < WARM_UPS:
            continue
        landing.append(seconds)
        expected, seconds = run_baseline(stack)
        baseline.append(seconds)
        say(f"round {len(landing)}: baseline {seconds:.2f} s, landing {landing[-1]:.2f} s")
    lake = f"{lake}-{n}"
    isobar(stack, binary, lake, "run", QUERY, "--all")
    found = isobar(stack, binary, lake, "sql", "--format", "json", "-c", "SELECT * FROM daily_weather_by_city").stdout
    rows = [json.loads(line) for line in expected.splitlines()]
    oracle.compare_daily(parse_json(found), {(row["dt"], str(row["city_id"])): row for row in rows})
    say(f"both give the same {len(rows)} rows")
    select = time_select(stack, binary, lake, rounds)
    return [
        Timing("MapReduce baseline in Python, one pass over WebHDFS", baseline),
        Timing("`isobar land`, whole process, fresh lake", landing, LANDING_TARGET),
        Timing("SELECT of the daily aggregation over HDFS, warm", select, SELECT_TARGET),
    ]


def land(stack: Stack, binary: str, lake: str) -> float:
    """Returns the seconds."""
    started = time.perf_counter()
    isobar(stack, binary, lake, "land", "--from", "files", stack.rpc_url + EXPORT, "--once")
    return time.perf_counter() - started


def run_baseline(stack: Stack) -> tuple[str, float]:
    command = [sys.executable, REPOSITORY / "benches" / "mapreduce_baseline.py", stack.http_url, EXPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, float(done.stderr)


def time_select(stack: Stack, binary: str, lake: str, rounds: int) -> list[float]:
    """Engine seconds of the query's own SELECT over all days at once, in one process, the first time left out."""
    lines = (REPOSITORY / "queries" / f"{QUERY}.sql").read_text().splitlines()
    select = "\n".join(line for line in lines if not line.startswith("--!")).strip().rstrip(";")
    # A run selects one day at a time; the claim is about all days in one statement.
    select = select.replace("dt = $dt", "true")
    assert "$" not in select, f"parameters are left in {QUERY}:\n{select}"
    script = f"{select};\n" * (rounds + 1)
    done = isobar(stack, binary, lake, "sql", "--format", "csv", "--timing", "-f", "/dev/stdin", stdin=script)
    times = [float(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("time: ")]
    assert len(times) == rounds + 1, done.stderr
    say(f"SELECT: first {times[0]:.3f} s, then {', '.join(f'{t:.3f}' for t in times[1:])} s")
    return times[1:]


def isobar(stack: Stack, binary: str, lake: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    environment = os.environ | stack.client | {
        "ISOBAR__LAKE__URL": lake,
        "ISOBAR__EXPORT__BASE_PATH": EXPORT,
        "ISOBAR__QUERIES__PATH": str(REPOSITORY / "queries"),
    }  # fmt: skip
    done = subprocess.run(
        [binary, *arguments], env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"isobar {' '.join(arguments)} exited with {done.returncode}:\n{done.stderr[-4000:]}")
    return done


if __name__ == "__main__":
    sys.exit(main())
