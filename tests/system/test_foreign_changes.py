"""Another writer changes a table under a running server, by every operation of the package `deltalake`.

After each change the same statements are asked over Flight SQL and, of the rows that `deltalake` reads, of DuckDB. Which
changes come follows from fixed seeds. `ISOBAR_TEST_LONG=1` makes 300, to six tables.
"""

import math
import random
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from support import handmade
from support.fixtures import LONG
from support.flight import Server
from support.handmade import File

CHANGES, TABLES = (50, 6) if LONG else (12, 1)
SEED = 20260115
EPOCH = datetime(2026, 1, 15, tzinfo=UTC)
WORDS = ["", "a", "Paris", "漢" * 25 + "甲", "漢" * 25 + "乙", "x" * 80, "😀", "𠮷", "100%", "it's"]
PLACES = ["Paris", "Saint-Étienne", "a/b", "100%", "x=y", "10:00", " ", "", None]
SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.int64()),
        ("n", pyarrow.int32()),
        ("x", pyarrow.float64()),
        ("f", pyarrow.float32()),
        ("s", pyarrow.string()),
        ("d", pyarrow.date32()),
        ("seen", pyarrow.timestamp("us", "UTC")),
        ("p", pyarrow.string()),
    ]
)
STATEMENTS = [
    "SELECT count(*) AS a, count(n) AS b, count(x) AS c, count(s) AS d, count(p) AS e FROM t",
    "SELECT min(id) AS a, max(id) AS b, min(n) AS c, max(n) AS d, min(d) AS e, max(d) AS g FROM t",
    "SELECT min(s) AS a, max(s) AS b, min(seen) AS c, max(seen) AS d, min(p) AS e, max(p) AS g FROM t",
    "SELECT id, n, CAST(x AS VARCHAR) AS x, CAST(f AS VARCHAR) AS f, s, d, seen, p FROM t ORDER BY id",
    "SELECT p, count(*) AS a, sum(n) AS n FROM t GROUP BY p ORDER BY p NULLS FIRST",
    "SELECT count(*) AS a FROM t WHERE x > 100",
    "SELECT count(*) AS a FROM t WHERE f > 0.25 AND n < 50",
    "SELECT count(*) AS a FROM t WHERE x = 0.0 OR x < -0.5",
    "SELECT count(*) AS a FROM t WHERE s > '漢'",
    "SELECT count(*) AS a FROM t WHERE s = '𠮷' OR s LIKE 'x%'",
    "SELECT count(*) AS a FROM t WHERE p = 'a/b' OR p = '100%'",
    "SELECT count(*) AS a FROM t WHERE p IS NULL AND n IS NOT NULL",
    "SELECT count(*) AS a FROM t WHERE seen >= '2026-01-15T06:00:00.000001Z'",
    "SELECT count(*) AS a FROM t WHERE d BETWEEN DATE '2026-01-10' AND DATE '2026-01-20' AND id % 2 = 0",
]


class Foreign:
    """The other writer, which chooses its next operation at random."""

    def __init__(self, path: str, seed: int):
        self.path = path
        self.random = random.Random(seed)
        self.next_id = 0
        # Versions of this table that can be restored.
        self.oldest = 0
        self.extra = 0
        self.create()

    def batch(self, count: int | None = None) -> pyarrow.Table:
        rows = []
        for _ in range(count or self.random.randint(1, 30)):
            pick = self.random.choice
            rows.append(
                {
                    "id": self.next_id,
                    "n": pick([None, self.random.randint(-100, 100), 2**31 - 1]),
                    "x": pick([None, math.nan, -0.0, 0.0, self.random.uniform(-1, 1), math.inf, -math.inf]),
                    "f": pick([None, math.nan, 0.0, 0.5, -0.25, 0.75]),
                    "s": pick([None, *WORDS]),
                    "d": pick([None, date(2026, 1, 1) + timedelta(self.random.randint(0, 40))]),
                    "seen": pick([None, EPOCH + timedelta(microseconds=self.random.randint(0, 86_400_000_000))]),
                    "p": pick(PLACES),
                }
            )
            self.next_id += 1
        return pyarrow.Table.from_pylist(rows, SCHEMA)

    @property
    def table(self) -> DeltaTable:
        return DeltaTable(self.path)

    def some_id(self) -> int:
        return self.random.randint(0, self.next_id)

    def create(self):
        shutil.rmtree(self.path, ignore_errors=True)
        write_deltalake(self.path, self.batch(), partition_by=self.random.choice([None, ["p"]]))
        self.oldest = self.extra = 0

    def append(self):
        write_deltalake(self.path, self.batch(), mode="append", schema_mode="merge")

    def overwrite(self):
        write_deltalake(self.path, self.batch(), mode="overwrite", schema_mode="merge")

    def replace_where(self):
        rows = self.batch()
        write_deltalake(self.path, rows, mode="overwrite", predicate=f"id >= {rows['id'][0]}", schema_mode="merge")

    def add_column(self):
        self.extra += 1
        rows = self.batch()
        more = pyarrow.array(range(rows.num_rows), pyarrow.int64())
        rows = rows.append_column(f"extra_{self.extra}", more)
        write_deltalake(self.path, rows, mode="append", schema_mode="merge")

    def delete(self):
        self.table.delete(self.random.choice([f"id < {self.some_id() // 3}", f"n > {self.random.randint(0, 99)}", "s = 'a'"]))

    def update(self):
        self.table.update(predicate=f"id % 7 = {self.some_id() % 7}", updates={"n": "n / 2", "s": "'Paris'"})

    def merge(self):
        rows = self.batch()
        ids = pyarrow.array([self.some_id() for _ in range(rows.num_rows)], pyarrow.int64()).unique()
        rows = rows.slice(0, len(ids)).set_column(0, "id", ids)
        merger = self.table.merge(rows, predicate="t.id = s.id", source_alias="s", target_alias="t")
        updates = {name: f"s.{name}" for name in SCHEMA.names if name != "p"}
        merger = merger.when_matched_update(updates).when_not_matched_insert({"id": "s.id", "p": "s.p", "x": "s.x"})
        merger.execute()
        self.next_id = max(self.next_id, max(ids.to_pylist()) + 1)

    def compact(self):
        self.table.optimize.compact()

    def z_order(self):
        self.table.optimize.z_order(["n", "seen"])

    def vacuum(self):
        self.table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        self.oldest = self.table.version()

    def restore(self):
        self.table.restore(self.random.randint(self.oldest, self.table.version()))

    def checkpoint(self):
        self.table.create_checkpoint()

    def cut_log(self):
        """Deletes log entries, as their retention does after a month."""
        table = self.table
        table.create_checkpoint()
        version = table.version()
        log = table.table_uri.removeprefix("file://").rstrip("/") + "/_delta_log"
        for entry in _entries(log):
            if int(entry.stem) < version:
                entry.unlink()
        self.oldest = version

    def change(self) -> str:
        weights = {
            "append": 8, "delete": 4, "update": 4, "merge": 4, "compact": 3, "z_order": 2, "vacuum": 3, "restore": 3,
            "overwrite": 1, "replace_where": 3, "add_column": 1, "checkpoint": 3, "cut_log": 2, "create": 1,
        }  # fmt: skip
        [name] = self.random.choices(list(weights), list(weights.values()))
        getattr(self, name)()
        return name


def _entries(log: str):
    return [entry for entry in Path(log).glob("*.json") if entry.stem.isdigit()]


def comparable(rows: list[dict]) -> list[dict]:
    """Normalizes floats, so that equal ones print the same."""
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

    def one(name, value):
        if name in ("x", "f") and value is not None:
            number = float(value)
            # Zeros of either sign are equal.
            return spelled.get(str(number), abs(number) if number == 0 else number)
        return value

    return [{name: one(name, value) for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("seed", range(SEED, SEED + TABLES))
def test_rows_are_right_after_each_change_of_another_writer(lakes, seed, record_property):
    lake = lakes.new("local")
    foreign = Foreign(f"{lake.place.root}/lake/t", seed)
    made, refused = Counter(), Counter()
    with Server(lake.isobar) as server, server.connect() as connection, connection.cursor() as cursor:
        while made.total() < CHANGES:
            before = foreign.random.getstate()
            try:
                made[foreign.change()] += 1
            except DeltaError as error:
                # Errors of the writer, such as a restore of vacuumed files, change nothing.
                assert foreign.random.getstate() != before
                refused[type(error).__name__] += 1
                assert refused.total() < CHANGES, error
                continue
            t = foreign.table.to_pyarrow_table()
            with duckdb.connect() as oracle:
                oracle.execute("SET TimeZone = 'UTC'")
                oracle.register("t", t)
                for statement in STATEMENTS:
                    expected = oracle.sql(statement).to_arrow_table().to_pylist()
                    cursor.execute(statement)
                    found = cursor.fetch_arrow_table().to_pylist()
                    assert comparable(found) == comparable(expected), f"{statement} after {dict(made)}"
    record_property("changes", dict(made))
    assert len(made) > (8 if LONG else 4)


def test_table_recreated_with_another_partition_type_is_read(lakes):
    """The log of the new table has entries after the version that was read, whose partition values do not fit the previous type."""
    lake = lakes.new("local")
    rows = pyarrow.table({"id": pyarrow.array([1, 2], pyarrow.int64())})
    statement = "SELECT p, count(*) AS n FROM recreated GROUP BY p ORDER BY p"
    with Server(lake.isobar) as server:
        handmade.write(lake.place, "recreated", [File(rows, values={"p": "2026-01-15"})], partition={"p": "date"})
        assert server.rows(statement) == [{"p": date(2026, 1, 15), "n": 2}]
        shutil.rmtree(f"{lake.place.lake_url}/recreated".removeprefix("file://"))
        files = [File(rows, values={"p": place}) for place in ("Oslo", "Paris", "Rome")]
        handmade.write(lake.place, "recreated", files, partition={"p": "string"})
        assert server.rows(statement) == [{"p": place, "n": 2} for place in ("Oslo", "Paris", "Rome")]
