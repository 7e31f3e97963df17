"""Parses docs/answers.md: its tables, and its statements with their expected rows."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa

from support import answers
from support.binary import REPOSITORY

PAGE = REPOSITORY / "docs/answers.md"
# The cells that stand for an error. Tests do not distinguish them; they inform the reader of the page.
ERRORS = ("error", "refused")


@dataclass(frozen=True)
class Line:
    """A statement and its expected rows."""

    statement: str
    rows: list[answers.Row] | None
    is_refusal_right: bool

    @property
    def is_ordered(self) -> bool:
        return re.search(r"ORDER BY [^()]*$", self.statement) is not None

    def wrong(self, found: list[answers.Row] | None, error: str, *, ordered: bool) -> str | None:
        """Describes in a line what is wrong with the found rows."""
        if found is None:
            return None if self.is_refusal_right else f"error: {error}"
        if self.rows is None:
            return f"{found!r}, where an error is right"
        return answers.difference(found, self.rows, ordered=ordered)


def lines() -> list[Line]:
    cells = re.findall(r"^\| `(.+?)` \| (.*?) ?\|$", PAGE.read_text(), re.MULTILINE)
    return [_line(statement.replace("\\|", "|"), answer) for statement, answer in cells]


def _line(statement: str, answer: str) -> Line:
    rows = [tuple(map(value, json.loads(row, parse_float=Decimal))) for row in re.findall(r"`(\[.*?\])`", answer)]
    may_be_refused = answer.endswith(ERRORS)
    return Line(statement, None if answer in ERRORS else rows, may_be_refused)


def value(cell: object) -> object:
    """Normalizes a cell of any engine to the notation of the page: digits as printed, instants as text."""
    if isinstance(cell, float) and cell == cell and abs(cell) != float("inf"):
        return Decimal(repr(cell))
    if isinstance(cell, float):
        return "NaN" if cell != cell else "Infinity" if cell > 0 else "-Infinity"
    if isinstance(cell, str):
        return answers.instant(cell)
    return answers.plain(cell)


def rows(table: pa.Table) -> list[answers.Row]:
    return [tuple(map(value, row)) for row in answers.rows(table)]


def statements_of_tables() -> list[str]:
    """The CREATE TABLE and INSERT statements, one a line."""
    [text] = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if line]


def column_names() -> set[str]:
    creates = [line for line in statements_of_tables() if line.startswith("CREATE")]
    inside = [line[line.index("(") + 1 :] for line in creates]
    return {name for line in inside for name in re.findall(r"(?:^|, )([a-z_]+) [A-Z]", line)}


def renamed(text: str) -> str:
    """The same text with other names for all columns of the tables."""
    names = "|".join(sorted(column_names(), key=len, reverse=True))
    parts = re.split(r"('[^']*')", text)
    return "".join(part if part.startswith("'") else re.sub(rf"\b({names})\b(?!\()", r"\1_2", part) for part in parts)


def write_tables(lake: Path, change=lambda text: text) -> None:
    """Writes the tables into a lake by deltalake: each INSERT is a commit with its own file."""
    with duckdb.connect() as maker:
        partitions: dict[str, list[str] | None] = {}
        for line in map(change, statements_of_tables()):
            name = line.split()[2]
            if line.startswith("CREATE"):
                by = re.search(r"-- partitioned by (.*)", line)
                partitions[name] = by[1].split(", ") if by else None
                maker.execute(line)
            else:
                maker.execute(f"DELETE FROM {name}; {line}")
                made = _with_zone(maker.sql(f"SELECT * FROM {name}").to_arrow_table())
                deltalake.write_deltalake(lake / name, made, mode="append", partition_by=partitions[name])


def _with_zone(made: pa.Table) -> pa.Table:
    fields = [
        field.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(field.type) else field
        for field in made.schema
    ]
    return made.cast(pa.schema(fields))
