"""How fast `isobar land` brings a topic into the lake on HDFS, against Spark Structured Streaming, warm.

Claim, for messages of 1.5 KB in three topic partitions of a real broker, all of them from the beginning: at least 1.6
times the messages a second.

Spark reads the same topic with as many cores as there are, parses the messages into the columns of table `weather`, and
writes them as Parquet by day to the same HDFS (`spark_baseline.py`). Its time is that of the stream alone, in a session
that has landed the whole topic before, against a whole process of isobar, which also validates the messages and commits a Delta
table. The first rows of both must be the same in every column; after each round both must hold each message once.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow
import pyarrow.compute as pc
import pyarrow.parquet
from backlog import Backlog, fill, lake_of, land
from comparison import Comparison, Timing, arguments, as_times, per_second, say
from stack import COMMANDS, Stack, session
from support import delta
from support.binary import HDFS_USER, REPOSITORY
from support.lake import Lake
from support.topic import Topic
from support.webhdfs import WebHdfs

TARGET = 1.6
IDENTITY = ["kafka_partition", "kafka_offset"]


class Spark:
    """A session that lands one topic, once for each call of `land`."""

    def __init__(self, stack: Stack, topic: Topic):
        self._stack = stack
        self._hdfs = WebHdfs(stack.http_url, HDFS_USER)
        subprocess.run([COMMANDS / "install", "spark"], check=True)
        jars = output("bash", "-c", '. "$0" && dist_home spark', COMMANDS / "lib.sh") + "/lib"
        python = [REPOSITORY / "scripts" / "python", "--requirements", REPOSITORY / "benches" / "spark_requirements.txt"]
        baseline = [REPOSITORY / "benches" / "spark_baseline.py", topic.servers, topic.name, jars]
        own = {"JAVA_HOME": output(REPOSITORY / "scripts" / "java17"), "HADOOP_USER_NAME": HDFS_USER}
        # Its log is long, and is shown only if the session ends.
        self._log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*python, *baseline], env=os.environ | own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True,
        )  # fmt: skip

    def land(self, path: str) -> float:
        """Returns the seconds."""
        self._hdfs.make_directory(path)
        self.process.stdin.write(f"{self._stack.rpc_url}{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise SystemExit(f"Spark ended:\n{self._log.read()[-4000:]}")
        return float(line)

    def rows(self, path: str, columns: list[str] | None = None) -> pyarrow.Table:
        """The rows of the files that it has written."""
        files = [status.path for status in self._hdfs.walk(f"{path}/weather") if status.path.endswith(".parquet")]
        return pyarrow.concat_tables(self._file(file, columns) for file in files)

    def _file(self, path: str, columns: list[str] | None) -> pyarrow.Table:
        rows = pyarrow.parquet.ParquetFile(io.BytesIO(self._hdfs.read(path))).read(columns)
        day = date.fromisoformat(path.split("/dt=", 1)[1].split("/", 1)[0])
        return rows.append_column("dt", pyarrow.repeat(day, rows.num_rows))

    def delete(self, path: str) -> None:
        self._hdfs.delete(path)


@contextlib.contextmanager
def spark_of(stack: Stack, topic: Topic) -> Iterator[Spark]:
    spark = Spark(stack, topic)
    try:
        yield spark
    finally:
        spark.process.stdin.close()
        spark.process.wait(timeout=60)


def output(*command) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main() -> int:
    given = arguments(__doc__, cities=100, days=28, rounds=3)
    with session() as stack, tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        stack.start("kafka")
        backlog = fill(Topic(stack.variables("kafka")), given.cities, given.days)
        with spark_of(stack, backlog.topic) as spark:
            timings = measure(stack, given.binary, Path(directory), spark, backlog, given.rounds)
    comparison = Comparison(
        suite="spark",
        title="Landing a Kafka topic against Spark Structured Streaming",
        work=backlog.in_words,
        against="of Spark",
        speed_in_words=as_times,
        median_in_words=per_second(backlog.messages, "messages"),
        command="make bench-ingest",
    )
    return comparison.report(timings, kept=given.kept)


def measure(stack: Stack, binary: str, directory: Path, spark: Spark, backlog: Backlog, rounds: int) -> list[Timing]:
    theirs, ours = [], []
    for n in range(rounds + 1):
        path = f"/user/{HDFS_USER}/bench/spark-{n}"
        seconds = spark.land(path)
        assert identities(spark.rows(path, IDENTITY)) == backlog.identities, "Spark did not land each message once"
        lake = lake_of(stack, binary, directory / f"isobar-{n}", backlog.topic)
        landing = land(lake, backlog)
        if n == 0:
            compare(spark.rows(path), lake)
            say(f"both hold the same {backlog.messages} rows; Spark took {seconds:.2f} s for them, cold")
        else:
            theirs.append(seconds)
            ours.append(landing.seconds)
            say(f"round {n}: Spark {seconds:.2f} s, isobar {landing.seconds:.2f} s")
        spark.delete(path)
        lake.place.delete("lake")
    return [
        Timing("Spark Structured Streaming, `local[cores]`, the stream alone in a warm session", theirs),
        Timing("`isobar land --from kafka --once`, whole process, fresh lake on HDFS", ours, TARGET),
    ]


def identities(rows: pyarrow.Table) -> list[tuple[int, int]]:
    return sorted(zip(*(rows[name].to_pylist() for name in IDENTITY), strict=True))


def compare(theirs: pyarrow.Table, lake: Lake) -> None:
    """Compares every column of every row."""
    table = delta.table(lake.place, "weather")
    ours: pyarrow.Table = delta.within_limits(table.to_pyarrow_table)
    theirs = theirs.select(ours.column_names).cast(ours.schema)
    keys = [(name, "ascending") for name in IDENTITY]
    ours, theirs = ours.sort_by(keys), theirs.sort_by(keys)
    different = [name for name in ours.column_names if not same(ours[name], theirs[name])]
    assert not different, f"the rows differ in {', '.join(different)}"


def same(left: pyarrow.ChunkedArray, right: pyarrow.ChunkedArray) -> bool:
    equal = pc.fill_null(pc.equal(left, right), False)
    return pc.all(pc.or_(equal, pc.and_(pc.is_null(left), pc.is_null(right)))).as_py()


if __name__ == "__main__":
    sys.exit(main())
