"""How fast `isobar serve` answers: against DataFusion with its defaults and against DuckDB, over the same Parquet files.

Claims, on two threads, warm, all in one run: TPC-H at scale factor 1 takes no longer than bare DataFusion 55 with its
defaults in the geometric mean, and no query more than 1.3 times as long; nine shapes over 432,000 rows of weather together at
most 0.8 times as long as DuckDB; sums and products that are checked for overflow at most 1.3 times as long as unchecked ones.
Warm, `isobar serve` has the columns of these tables decoded in memory, so it is also timed without its cache of columns; the
claims about TPC-H and about checked arithmetic hold that way too. Rows are counted, and those of TPC-H compared, before anything is timed for the record.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from comparison import arguments, say
from sql_tables import write_weather, write_integers
from support import answers, figures
from support.binary import REPOSITORY, Isobar
from support.flight import Server
from support.foreign import statements, write_tpch

THREADS = 2
HERE = Path(__file__).resolve().parent
MEAN_MOST, QUERY_MOST, SHAPES_MOST, CHECKED_MOST = 1.0, 1.3, 0.8, 1.3
# Averages of decimals keep six decimals.
SIX_DIGITS = 1e-6
CHECKED = {
    "sum(bigint)": "SELECT sum(a) AS s FROM whole",
    "a * b + c": "SELECT max(a * b + c) AS m FROM whole",
    "grouped sum": "SELECT k, sum(a) AS s FROM whole GROUP BY k",
}


@dataclass(frozen=True)
class Engines:
    """Functions that run a statement to its last row; each returns its seconds and the number of rows."""

    isobar: Callable[[str], tuple[float, int]]
    uncached: Callable[[str], tuple[float, int]]
    datafusion: Callable[[str], tuple[float, int]]
    duckdb: Callable[[str], tuple[float, int]]


@dataclass(frozen=True)
class Timed:
    """The medians of one statement."""

    name: str
    isobar: float
    uncached: float
    datafusion: float
    duckdb: float

    def cells(self) -> tuple[str, ...]:
        times = (self.isobar, self.uncached, self.datafusion, self.duckdb)
        ratios = (self.isobar / self.datafusion, self.uncached / self.datafusion, self.isobar / self.duckdb, self.uncached / self.duckdb)
        return (self.name, *(f"{seconds:.4f} s" for seconds in times), *(f"{ratio:.2f}" for ratio in ratios))


def main() -> int:
    given = arguments(__doc__, scale_percent=100, weather_rows=432_000, whole_rows=10_000_000, rounds=5)
    # Processes that are started later see these cores only.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    with tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        lake = Path(directory) / "lake"
        write_lake(lake, given)
        isobar = isobar_over(given.binary, lake)
        with (
            Server(isobar) as cached,
            Server(isobar, ISOBAR__QUERY__COLUMN_CACHE="0B") as uncached,
            cached.connect() as connection,
            uncached.connect() as without_cache,
        ):
            return measure(lake, connection, without_cache, given)


def isobar_over(binary: str, lake: Path) -> Isobar:
    variables = {"ISOBAR__LAKE__URL": f"file://{lake}", "ISOBAR__EXPORT__BASE_PATH": f"file://{lake.parent}/export"}
    return Isobar(binary, lake.parent / "work", variables)


def write_lake(lake: Path, given) -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="isobar-bench-") as made:
        write_tpch(given.scale_percent / 100, Path(made))
        for path in sorted(Path(made).glob("*.parquet")):
            for part in batches(path):
                deltalake.write_deltalake(lake / path.stem, part, mode="append")
    write_weather(lake / "weather", given.weather_rows)
    write_integers(lake / "whole", given.whole_rows)
    say(f"tables written in {time.perf_counter() - started:.0f} s")


def batches(path: Path) -> Iterator[pa.Table]:
    """Batches of a million rows, one for each file, so that two threads can share the work."""
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1_000_000):
        yield pa.table(batch)


def measure(lake: Path, connection: adbc.Connection, without_cache: adbc.Connection, given) -> int:
    tpch = statements(REPOSITORY / "tests/system/statements/tpch.sql")
    oracle = duckdb_over(lake)
    compare_rows(connection, oracle, tpch)
    with Baseline(lake) as baseline:
        engines = Engines(
            lambda sql: by_flight(connection, sql),
            lambda sql: by_flight(without_cache, sql),
            baseline.run,
            lambda sql: by_duckdb(oracle, sql),
        )
        parts = [time_all(engines, of, given.rounds) for of in (tpch, statements(HERE / "sql_shapes.sql"), CHECKED)]
    return report(*parts, given)


def compare_rows(connection: adbc.Connection, oracle: duckdb.DuckDBPyConnection, queries: dict[str, str]) -> None:
    for name, sql in queries.items():
        with connection.cursor() as cursor:
            cursor.execute(sql)
            found = cursor.fetch_arrow_table()
        right = oracle.sql(sql).to_arrow_table()
        wrong = answers.difference(
            answers.rows(found), answers.rows(right), answers.floats(right.schema), absolute=SIX_DIGITS
        )
        assert not wrong, f"{name}: {wrong}"


def duckdb_over(lake: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": THREADS})
    connection.execute("SET TimeZone = 'UTC'")
    for table in lake.iterdir():
        files = f"read_parquet('{table}/**/*.parquet', hive_partitioning = true)"
        connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM {files}")
    return connection


def by_flight(connection: adbc.Connection, sql: str) -> tuple[float, int]:
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetch_arrow_table().num_rows
    return time.perf_counter() - started, rows


def by_duckdb(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[float, int]:
    started = time.perf_counter()
    rows = connection.sql(sql).to_arrow_table().num_rows
    return time.perf_counter() - started, rows


class Baseline:
    """Bare DataFusion in its own process and environment."""

    def __init__(self, lake: Path):
        python = [REPOSITORY / "scripts/python", "--requirements", HERE / "sql_requirements.txt"]
        command = [*python, HERE / "sql_baseline.py", lake]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Baseline":
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait()

    def run(self, sql: str) -> tuple[float, int]:
        self._process.stdin.write(json.dumps(sql) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"bare DataFusion ended at {sql}"
        seconds, rows = json.loads(line)
        return seconds, rows


def time_all(engines: Engines, queries: dict[str, str], rounds: int) -> list[Timed]:
    timed = []
    for name, sql in queries.items():
        # The first round is a warm-up. The engines take turns, so that load of the machine affects all of them.
        found = [[run(sql) for run in (engines.isobar, engines.uncached, engines.datafusion, engines.duckdb)] for _ in range(rounds + 1)]
        assert len({rows for of_round in found for _, rows in of_round}) == 1, f"{name}: they give different numbers of rows"
        medians = (statistics.median(seconds for seconds, _ in times) for times in list(zip(*found[1:], strict=True)))
        timed.append(Timed(name, *medians))
        say(" · ".join(timed[-1].cells()))
    return timed


def report(tpch: list[Timed], shapes: list[Timed], checked: list[Timed], given) -> int:
    def mean(of: Callable[[Timed], float]) -> float:
        return statistics.geometric_mean(of(one) for one in tpch)

    def shapes_beside_duckdb(of: Callable[[Timed], float]) -> float:
        return sum(of(one) for one in shapes) / sum(one.duckdb for one in shapes)

    verdicts = [
        ("TPC-H, geometric mean of the times of bare DataFusion", mean(lambda one: one.isobar / one.datafusion), MEAN_MOST),
        ("the same without the cache of columns", mean(lambda one: one.uncached / one.datafusion), MEAN_MOST),
        ("TPC-H, the slowest query beside bare DataFusion", max(one.isobar / one.datafusion for one in tpch), QUERY_MOST),
        ("the same without the cache of columns", max(one.uncached / one.datafusion for one in tpch), QUERY_MOST),
        ("TPC-H, geometric mean of the times of DuckDB", mean(lambda one: one.isobar / one.duckdb), None),
        ("the same without the cache of columns", mean(lambda one: one.uncached / one.duckdb), None),
        ("nine shapes of weather, together beside DuckDB", shapes_beside_duckdb(lambda one: one.isobar), SHAPES_MOST),
        ("the same without the cache of columns", shapes_beside_duckdb(lambda one: one.uncached), None),
        ("checked arithmetic without the cache, the slowest beside bare DataFusion", max(one.uncached / one.datafusion for one in checked), CHECKED_MOST),
    ]
    rows = [(what, f"{times:.2f}", "" if most is None else f"at most {most}: {'MISSED' if times > most else 'met'}") for what, times, most in verdicts]
    head = [
        "statement",
        "`isobar serve`",
        "without cache",
        "bare DataFusion 55",
        "DuckDB",
        "times DataFusion",
        "without cache",
        "times DuckDB",
        "without cache",
    ]
    work = (
        f"TPC-H at scale factor {given.scale_percent / 100:g}, {given.weather_rows} rows of weather, {given.whole_rows} whole numbers;"
        f" {THREADS} threads, warm, median of {given.rounds} rounds"
    )
    table = figures.table(["claim", "times", "target"], rows)
    body = f"{work}\n\n{table}\n\n{figures.table(head, [one.cells() for one in [*tpch, *shapes, *checked]])}"
    print(f"{figures.provenance()}\n{body}")
    if not given.kept:
        return 0
    figures.keep("bench:sql", "SQL against DataFusion and DuckDB (`make bench-sql`)", body)
    return int(any(most is not None and times > most for _, times, most in verdicts))


if __name__ == "__main__":
    sys.exit(main())
