"""Tables of Spark 3.5 with Delta 3.3: they have the rows of Spark, or are refused by name. With the full counts only."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuzz.run import isobar_over
from support import answers
from support.binary import REPOSITORY
from support.flight import Server
from support.foreign import without_zone

TABLES = [
    "many_files", "partitioned", "v2_checkpoints", "struct_statistics", "row_tracking", "change_feed", "commit_timestamps",
    "clustered", "int96", "evolved", "maintained", "constrained", "purged_vectors",
]  # fmt: skip
REFUSED = {"deletion_vectors": "deletion vector", "column_mapping": "column mapping"}


class Spark:
    """The lake that Spark has written, a connection to a server over it, and the rows as Spark reads them."""

    def __init__(self, directory: Path, connection):
        self.expected, self.connection = directory / "expected", connection

    def rows(self, name: str) -> pa.Table:
        [file] = (self.expected / name).glob("*.parquet")
        return without_zone(pq.read_table(file, coerce_int96_timestamp_unit="us"))

    def ask(self, sql: str) -> pa.Table:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()


@pytest.fixture(scope="module")
def spark(isobar, tmp_path_factory) -> Iterator[Spark]:
    directory = tmp_path_factory.mktemp("spark")
    write_tables(directory)
    with Server(isobar_over(str(isobar), directory)) as server, server.connect() as connection:
        yield Spark(directory, connection)


def write_tables(directory: Path) -> None:
    commands = REPOSITORY / "tests/stack"
    subprocess.run([commands / "install", "delta"], check=True)
    jars = output("bash", "-c", '. "$0" && dist_home delta', commands / "lib.sh") + "/lib"
    python = [REPOSITORY / "scripts/python", "--requirements", REPOSITORY / "tests/spark_requirements.txt"]
    writer = [REPOSITORY / "tests/system/support/spark_writer.py", directory / "lake", directory / "expected", jars]
    java = {"JAVA_HOME": output(REPOSITORY / "scripts/java17")}
    done = subprocess.run([*python, *writer], env=os.environ | java, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


def output(*command) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", TABLES)
def test_rows_match_those_of_spark(spark, name):
    right = spark.rows(name)
    found = spark.ask(f"SELECT {', '.join(right.column_names)} FROM {name}")
    wrong = answers.difference(comparable(found), comparable(right))
    assert not wrong, wrong


def comparable(table: pa.Table) -> list[answers.Row]:
    """Rows with structs as texts, since dictionaries have no hash."""
    return [tuple(str(value) if isinstance(value, dict) else value for value in row) for row in answers.rows(table)]


@pytest.mark.parametrize("name", TABLES)
def test_statistics_match_the_rows(spark, name):
    right = spark.rows(name)
    columns = [f'"{column}"' for column in right.column_names if column not in ("place", "flag")]
    ends = ", ".join(f"min({column}), max({column}), count({column})" for column in columns)
    aliased = ", ".join(f"{end} AS e{at}" for at, end in enumerate(ends.split(", ")))
    oracle = duckdb.connect()
    oracle.register(name, right)
    statements = [
        f"SELECT count(*) AS n, {aliased} FROM {name}",
        f"SELECT count(*) AS n FROM {name} WHERE temp > 100",
        f"SELECT count(*) AS n FROM {name} WHERE thin > 1000",
        f"SELECT count(*) AS n FROM {name} WHERE wide > 12345678901234567890124.5 AND price <= 10.70",
        f"SELECT count(*) AS n FROM {name} WHERE \"at\" >= TIMESTAMP '9999-12-31 23:59:59.999999' OR day = DATE '0001-01-01'",
    ]
    for sql in statements:
        wrong = answers.difference(answers.rows(spark.ask(sql)), answers.rows(oracle.sql(sql).to_arrow_table()))
        assert not wrong, f"{sql}: {wrong}"


@pytest.mark.parametrize("name", REFUSED)
def test_unreadable_table_is_refused_by_name(spark, name):
    with pytest.raises(Exception, match=REFUSED[name].replace(" ", ".?")):
        spark.ask(f"SELECT count(*) FROM {name}")
    assert "many_files" in str(spark.ask("SHOW TABLES").to_pylist())
