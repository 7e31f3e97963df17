"""Compares the rows of two engines as multisets of plain values, independent of their types.

Numbers are compared by value: 1, 1.0 and DECIMAL 1.00 are equal, and NaN equals NaN. Days and instants are microseconds
since 1970, so that a day is its midnight. Columns that are named as approximate (sums, averages and variances of floats, whose
last digits depend on the order of the rows) may differ by REL of the value or ABS; all others must be equal.
"""

import datetime
import json
import math
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Collection
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

REL, ABS = 1e-9, 1e-9

Row = tuple[object, ...]
EPOCH = datetime.date(1970, 1, 1).toordinal()


def rows(table: pa.Table) -> list[Row]:
    """The plain values of a result."""
    if not table.num_columns:
        return [()] * table.num_rows
    return list(zip(*(_column(column) for column in table.columns), strict=True))


def _column(column: pa.ChunkedArray) -> list:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _column(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        # Not by Python's datetime, which ends in the year 9999.
        instants = pc.cast(pc.cast(column, pa.timestamp(kind.unit)), pa.int64())
        scale = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": Decimal("0.001")}[kind.unit]
        return [None if value is None else ("instant", value * scale) for value in instants.to_pylist()]
    if pa.types.is_date32(kind):
        days = pc.cast(column, pa.int32()).to_pylist()
        return [None if value is None else ("instant", value * 86_400_000_000) for value in days]
    return [plain(value) for value in column.to_pylist()]


def as_reals(found: pa.Table, like: pa.Schema) -> pa.Table:
    """With REAL where `like` has it: a DECIMAL beside a REAL is a DOUBLE here and in PostgreSQL, and a REAL in DuckDB."""
    for at, (kind, other) in enumerate(zip(found.schema.types, like.types, strict=False)):
        if pa.types.is_float64(kind) and pa.types.is_float32(other):
            found = found.set_column(at, found.field(at).with_type(other), found.column(at).cast(other))
    return found


def plain(value: object) -> object:
    """Normalizes a value, so that equal values of the engines are equal and have the same hash."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, list):
        return tuple(plain(item) for item in value)
    return value


def printed(text: str, like: pa.Schema) -> list[Row]:
    """The rows that `isobar sql --format json` has printed, read as values of these types."""
    lines = [
        # Not as a dictionary, which would keep one value of a repeated name.
        json.loads(line, parse_float=Decimal, object_pairs_hook=lambda pairs: [value for _, value in pairs])
        for line in text.split("\n")
        if line.strip()
    ]
    # A row that is too short or too long is kept as it is.
    types = like.types
    return [tuple(_read(value, types[at] if at < len(types) else pa.null()) for at, value in enumerate(line)) for line in lines]


def _read(value: object, kind: pa.DataType) -> object:
    if value is None or isinstance(value, bool):
        return plain(value)
    if isinstance(value, list):
        return tuple(_read(item, kind.value_type) for item in value)
    if pa.types.is_float32(kind):
        return plain(struct.unpack("f", struct.pack("f", float(value)))[0])
    if pa.types.is_floating(kind):
        # NaN and the infinities are texts.
        return plain(float(value))
    if pa.types.is_binary(kind) and isinstance(value, str):
        return bytes.fromhex(value)
    if (pa.types.is_date(kind) or pa.types.is_timestamp(kind)) and isinstance(value, str):
        return instant(value)
    return value


def instant(text: str) -> object:
    """A day or an instant of any year, which Python's datetime has not; a text that is neither stays what it is."""
    found = re.fullmatch(r"([+-]?\d+)-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?)?Z?", text)
    if not found:
        return text
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    # 400 years are 146,097 days.
    cycles = (year - 2000) // 400
    days = datetime.date(year - 400 * cycles, month, day).toordinal() - EPOCH + 146_097 * cycles
    fraction = int((found[7] or "").ljust(6, "0")[:6])
    return ("instant", (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)


def published(values: list[Row]) -> list[Row]:
    """As runs publish them: NaN and the infinities are null there (docs/sql.md)."""

    def as_published(value: object) -> object:
        if isinstance(value, tuple) and value and value[0] not in ("boolean", "instant"):
            return tuple(as_published(item) for item in value)
        is_infinite = value in ("Infinity", "-Infinity") or (isinstance(value, float) and math.isinf(value))
        return None if value == "NaN" or is_infinite else value

    return [tuple(as_published(value) for value in row) for row in values]


def floats(*schemas: pa.Schema) -> set[int]:
    """The columns that are floats in any of these."""
    return {at for schema in schemas for at, kind in enumerate(schema.types) if pa.types.is_floating(kind)}


def difference(
    found: list[Row], right: list[Row], approximate: Collection[int] = (), *, ordered: bool = False, absolute: float = ABS
) -> str | None:
    """Describes in a line what is wrong with `found`; none if it is right."""
    if len(found) != len(right):
        return f"{len(found)} rows, not {len(right)}{_first_odd(found, right)}"
    if found and len(found[0]) != len(right[0]):
        return f"{len(found[0])} columns, not {len(right[0])}"
    if ordered:
        pairs = zip(found, right, strict=True)
        wrong = [(got, want) for got, want in pairs if not _close(got, want, approximate, absolute)]
        return f"row {wrong[0][0]!r}, not {wrong[0][1]!r}" if wrong else None
    if not approximate:
        return None if Counter(found) == Counter(right) else f"other rows{_first_odd(found, right)}"
    return _approximate_difference(found, right, approximate, absolute)


def _first_odd(found: list[Row], right: list[Row]) -> str:
    more, fewer = Counter(found) - Counter(right), Counter(right) - Counter(found)
    shown = [f"{what} {list(some.elements())[:2]!r}" for what, some in (("found", more), ("right", fewer)) if some]
    return ": " + ", ".join(shown) if shown else ""


def _approximate_difference(found, right, approximate, absolute) -> str | None:
    """Rows are paired by their exact columns; those that agree there, greedily by the others."""
    waiting = defaultdict(list)
    for row in right:
        waiting[_exact(row, approximate)].append(row)
    for row in found:
        candidates = waiting[_exact(row, approximate)]
        match = next((at for at, want in enumerate(candidates) if _close(row, want, approximate, absolute)), None)
        if match is None:
            return f"row {row!r}, not {candidates[0] if candidates else 'there'!r}"
        candidates.pop(match)
    return None


def _exact(row: Row, approximate: Collection[int]) -> Row:
    return tuple(value for at, value in enumerate(row) if at not in approximate)


def _close(got: Row, want: Row, approximate: Collection[int], absolute: float) -> bool:
    return all(
        one == other or (at in approximate and _near(one, other, absolute))
        for at, (one, other) in enumerate(zip(got, want, strict=True))
    )


def _near(one: object, other: object, absolute: float) -> bool:
    numbers = all(isinstance(value, int | float | Decimal) for value in (one, other))
    return numbers and math.isclose(float(one), float(other), rel_tol=REL, abs_tol=absolute)
