"""Random tables as other writers leave them, and their twins.

A table has many files, null, NaN, the infinities, both zeros and the ends of every type; columns that its first files do not
have; partition values that need escaping; and a log whose statistics are there, shortened to bounds, taken from some columns, or
missing. Its twin holds the same rows with nothing to prune by: one file, no partitions, no statistics in the log or in the file.
"""

import json
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import deltalake
import pyarrow as pa

from support.foreign import Foreign

TWIN = "_twin"
NAN, INFINITY = float("nan"), float("inf")


@dataclass(frozen=True)
class Column:
    """One column of every table: its name, its Arrow type, and the values that rows are drawn from."""

    name: str
    type: pa.DataType
    values: list

    @property
    def literals(self) -> list:
        return [value for value in self.values if value is not None]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


TEXTS = ["", "a", "b", "ab", "Ab", "aB%", "a_b", "it's", "é", "E", "Zürich", "漢字", "漢" * 25 + "乙", "漢" * 25 + "甲", "🌧", "x" * 70, "x" * 70 + "y"]
PLAIN = ["Paris", "London", "Lima", "Oslo", "paris", "P", "", "Los Angeles", "a,b,c", "  pad "]
DAYS = [date(1, 1, 1), date(1677, 9, 21), date(1970, 1, 1), date(2026, 1, 15), date(2026, 1, 16), date(2026, 3, 29), date(2262, 4, 12), date(9999, 12, 31)]
INSTANTS = ["0001-01-01T00:00:00", "1969-12-31T23:59:59.999999", "2026-01-15T00:00:00", "2026-01-15T12:34:56.789", "2026-03-29T01:30:00", "2026-10-25T00:30:00", "2300-01-01T00:00:00", "9999-12-31T23:59:59.999999"]

COLUMNS = [
    Column("t", pa.int8(), [None, -128, 127, 0, 1, 2, 7, -3]),
    Column("h", pa.int16(), [None, -32768, 32767, 0, 1, 5, 100, -100]),
    Column("n", pa.int32(), [None, -(2**31), 2**31 - 1, 0, 1, -1, 1000]),
    Column("i", pa.int64(), [None, -(2**63), 2**63 - 1, 0, 1, -1, 2**53 + 1, 42]),
    Column("k", pa.int64(), [None, 1, 2, 3, 4, 5]),
    Column("x", pa.float64(), [None, 0.0, 0.25, -0.5, 1.0, 2.5, -100.75, 1000.0]),
    Column("y", pa.float64(), [None, NAN, INFINITY, -INFINITY, 0.0, -0.0, 1.0, -1.5, 1.7e308, 5e-324]),
    Column("r", pa.float32(), [None, 0.0, 0.5, -2.25, 64.0]),
    Column("w", pa.float32(), [None, NAN, INFINITY, -INFINITY, -0.0, 0.0, 1.5, 2.0**127]),
    Column("d", pa.decimal128(10, 2), [None, *map(Decimal, ["0.00", "0.01", "-0.01", "1.10", "20.50", "99999999.99", "-99999999.99", "35731.20"])]),
    Column("m", pa.decimal128(38, 6), [None, *map(Decimal, ["0.000000", "1.000001", "-12345678901234567890.123456", "12345678901234567890123.000001"])]),
    Column("s", pa.string(), [None, *TEXTS]),
    Column("c", pa.string(), [None, *PLAIN]),
    Column("o", pa.bool_(), [None, True, False]),
    Column("a", pa.date32(), [None, *DAYS]),
    Column("e", pa.timestamp("us", "UTC"), [None, *map(_instant, INSTANTS)]),
    Column("z", pa.binary(), [None, b"", b"a", b"\x00", b"\xff\xfe", b"abc"]),
]
PARTITIONS = [
    Column("p", pa.string(), [None, "", "x", "a b", "a/b", "50%", "k=v", "c:d#?", "é", "漢", "🌧", "..", "\\"]),
    Column("p", pa.int32(), [None, -(2**31), 2**31 - 1, 0, 1, 2]),
    Column("p", pa.date32(), [None, *DAYS]),
    Column("p", pa.bool_(), [None, True, False]),
    Column("p", pa.float64(), [None, 0.0, 1.5, -2.25]),
    Column("p", pa.decimal128(10, 2), [None, Decimal("1.10"), Decimal("-3.00"), Decimal("0.00")]),
    Column("p", pa.timestamp("us", "UTC"), [None, *map(_instant, INSTANTS)]),
]
BY_NAME = {column.name: column for column in COLUMNS}


@dataclass(frozen=True)
class Table:
    """What the statements need of a table; `p` is the column that it is partitioned by, where it is."""

    name: str
    columns: tuple[Column, ...]
    rows: int

    @property
    def twin(self) -> str:
        return self.name + TWIN


def make(foreign: Foreign, seed: int, count: int = 3) -> list[Table]:
    """Makes `count` tables `t0`, `t1` …, each with its twin, in the lake and in the oracle."""
    chance = random.Random(f"tables {seed}")
    return [_make(foreign, f"t{number}", chance) for number in range(count)]


def _make(foreign: Foreign, name: str, chance: random.Random) -> Table:
    count = chance.choice([40, 120, 300])
    partition = chance.choice(PARTITIONS)
    columns = (Column("id", pa.int64(), list(range(count))), *COLUMNS, partition)
    files = _split(count, chance)
    # The values of a column vary from file to file, so that pruning has an effect.
    parts = [_part(columns, first, size, chance) for first, size in files]
    late = set(chance.sample([column.name for column in COLUMNS], 3))
    parts = [_without(part, late) if at < len(parts) // 2 else part for at, part in enumerate(parts)]
    is_partitioned = chance.random() < 0.6
    for part in parts:
        deltalake.write_deltalake(
            foreign.lake / name, part, mode="append", schema_mode="merge", partition_by=["p"] if is_partitioned else None
        )
    _spoil_statistics(foreign.lake / name, chance)
    whole = pa.concat_tables(parts, promote_options="default").select([column.name for column in columns])
    if is_partitioned:
        whole = _as_partitioned(whole)
    foreign.know(name, whole)
    _write_twin(foreign, name + TWIN, whole)
    return Table(name, columns, count)


def _split(count: int, chance: random.Random) -> list[tuple[int, int]]:
    """Where each file begins, and its rows."""
    cuts = sorted({0, *chance.sample(range(1, count), chance.choice([1, 3, 7]))})
    return [(first, after - first) for first, after in zip(cuts, [*cuts[1:], count], strict=True)]


def _part(columns: tuple[Column, ...], first: int, size: int, chance: random.Random) -> pa.Table:
    arrays = {}
    for column in columns:
        few = chance.sample(column.values, chance.randint(1, len(column.values)))
        values = range(first, first + size) if column.name == "id" else chance.choices(few, k=size)
        arrays[column.name] = pa.array(list(values), column.type)
    return pa.table(arrays)


def _without(part: pa.Table, names: set[str]) -> pa.Table:
    return part.select([name for name in part.column_names if name not in names])


def _as_partitioned(rows: pa.Table) -> pa.Table:
    """An empty partition value in the log is null, as Delta defines it."""
    values = [None if value == "" else value for value in rows["p"].to_pylist()]
    return rows.set_column(rows.schema.get_field_index("p"), "p", pa.array(values, rows["p"].type))


def _write_twin(foreign: Foreign, name: str, rows: pa.Table) -> None:
    bare = deltalake.WriterProperties(default_column_properties=deltalake.ColumnProperties(statistics_enabled="NONE"))
    deltalake.write_deltalake(foreign.lake / name, rows, writer_properties=bare)
    _rewrite_log(foreign.lake / name, lambda _: None)
    foreign.know(name, rows)


def _spoil_statistics(table: Path, chance: random.Random) -> None:
    """Changes the statistics of each file: none, removed, row count only, some columns removed, or bounds that are not tight."""

    def spoiled(text: str) -> str | None:
        kind = chance.choice(["whole", "whole", "gone", "count", "partial", "wide"])
        if kind in ("whole", "gone"):
            return text if kind == "whole" else None
        statistics = json.loads(text)
        if kind == "count":
            return json.dumps({"numRecords": statistics["numRecords"]})
        # Its digits do not survive the reading of this number as a float.
        for part in ("minValues", "maxValues"):
            statistics[part].pop("m", None)
        if kind == "partial":
            gone = set(chance.sample(list(BY_NAME), 8))
            for part in ("minValues", "maxValues", "nullCount"):
                statistics[part] = {name: value for name, value in statistics[part].items() if name not in gone}
        if kind == "wide":
            statistics["tightBounds"] = False
            for name in ("n", "k", "id"):
                if statistics["minValues"].get(name, -(2**31)) > -(2**31):
                    statistics["minValues"][name] -= 1
                if statistics["maxValues"].get(name, 2**31 - 1) < 2**31 - 1:
                    statistics["maxValues"][name] += 1
        return json.dumps(statistics)

    _rewrite_log(table, spoiled)


def _rewrite_log(table: Path, change) -> None:
    for path in sorted((table / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for action in actions:
            if "add" in action and action["add"].get("stats"):
                action["add"]["stats"] = change(action["add"]["stats"])
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))
