"""Random typed expressions over a table's columns, in text that Isobar and DuckDB read alike.

What the two write differently is put into DuckDB's words by `for_oracle`. What they mean differently, each with good reason, is
not made: floats cast to whole numbers or texts, backslashes in LIKE, quotients of decimals, substr from the end, REAL beside
constants that it cannot hold, weeks and zones of instants.
"""

import random
import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from fuzz.tables import Column, Table

KINDS = ("whole", "double", "decimal", "text", "boolean", "day", "instant")
DEPTH_MAX = 3


def for_oracle(text: str) -> str:
    """Translates to DuckDB. Only integers are divided by a constant without a point."""
    text = re.sub(r" / (-?\d+\))", r" // \1", text)
    return re.sub(r"LEFT (SEMI|ANTI) JOIN", r"\1 JOIN", text)


def literal(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case float():
            return _float_literal(value)
        case int():
            return str(value) if value > -(2**63) else "(-9223372036854775807 - 1)"
        case Decimal():
            return f"{value:f}"
        case bytes():
            return f"X'{value.hex()}'"
        case datetime():
            return f"TIMESTAMP '{value.replace(tzinfo=None).isoformat(sep=' ')}'"
        case date():
            return f"DATE '{value.isoformat()}'"
    return "'" + str(value).replace("'", "''") + "'"


def _float_literal(value: float) -> str:
    text = repr(value)
    # A literal with a point is exact and takes the type of its partner; these have no such form.
    if value != value or "e" in text or "inf" in text or text == "-0.0":
        return f"CAST('{text.replace('inf', 'Infinity').replace('nan', 'NaN')}' AS DOUBLE)"
    return text


@dataclass(frozen=True)
class Scope:
    """The columns in scope, each with its qualifier, such as `l.` in a join."""

    columns: tuple[tuple[str, Column], ...]

    @classmethod
    def of(cls, table: Table, prefix: str = "") -> "Scope":
        return cls(tuple((prefix + column.name, column) for column in table.columns))

    def __add__(self, other: "Scope") -> "Scope":
        return Scope(self.columns + other.columns)

    def named(self, *names: str) -> list[tuple[str, Column]]:
        return [(text, column) for text, column in self.columns if column.name in names]


class Expressions:
    """Draws expressions over a scope."""

    def __init__(self, chance: random.Random, scope: Scope):
        self.chance, self.scope = chance, scope

    def column(self, *names: str) -> str:
        return self.chance.choice(self.scope.named(*names))[0]

    def any(self, depth: int = 0) -> str:
        """A column, or a value of some kind."""
        if self.chance.random() < 0.3:
            return self.chance.choice(self.scope.columns)[0]
        return self.of(self.chance.choice(KINDS), depth)

    def of(self, kind: str, depth: int = 0) -> str:
        return getattr(self, kind)(depth)

    def _one(self, *texts) -> str:
        """One of these. A costly text is a function."""
        chosen = self.chance.choice(texts)
        return chosen if isinstance(chosen, str) else chosen()

    def _either(self, kind: str, depth: int) -> str:
        """Expressions of every kind: CASE, COALESCE, NULLIF."""
        one, other = self.of(kind, depth + 1), self.of(kind, depth + 1)
        return self._one(
            lambda: f"CASE WHEN {self.boolean(depth + 1)} THEN {one} ELSE {other} END",
            lambda: f"CASE WHEN {self.boolean(depth + 1)} THEN {one} WHEN {self.boolean(depth + 2)} THEN {other} END",
            f"coalesce({one}, {other})",
            f"nullif({one}, {other})",
        )

    def whole(self, depth: int = 0) -> str:
        leaf = [lambda: self._bigint(), lambda: self.column("i", "n", "id", "k"), lambda: str(self.chance.randint(-3, 9))]
        if depth >= DEPTH_MAX:
            return self._one(*leaf)
        return self._one(
            *leaf,
            lambda: f"({self._bigint()} {self.chance.choice('+-*')} {self._bigint()})",
            lambda: f"({self._bigint()} + {self.whole(DEPTH_MAX)})",
            lambda: f"({self._bigint()} / {self.chance.choice([2, 3, -7])})",
            lambda: f"({self._bigint()} % {self.chance.choice([2, 3, 10])})",
            lambda: f"(- {self._bigint()})",
            lambda: f"abs({self._bigint()})",
            lambda: f"length({self.text(depth + 1)})",
            lambda: f"extract({self.chance.choice(['YEAR', 'MONTH', 'DAY', 'QUARTER', 'DOY'])} FROM {self.column('a')})",
            lambda: f"extract({self.chance.choice(['YEAR', 'MONTH', 'DAY', 'HOUR', 'MINUTE'])} FROM {self.column('e')})",
            lambda: f"greatest({self._bigint()}, {self._bigint()})",
            lambda: f"least({self._bigint()}, {self.chance.randint(-3, 9)})",
            lambda: self._either("whole", depth),
        )

    def _bigint(self) -> str:
        """An integer whose products and sums fit into 64 bits."""
        return f"CAST({self.column('t', 'h', 'k', 'id')} AS BIGINT)"

    def double(self, depth: int = 0) -> str:
        leaf = [lambda: self.column("x"), lambda: self.column("x", "y"), lambda: self._one("0.5", "2.25", "-1.5", "CAST(3 AS DOUBLE)")]
        if depth >= DEPTH_MAX:
            return self._one(lambda: self.column("x", "y"), lambda: self.column("x"))
        return self._one(
            *leaf,
            lambda: f"({self.column('x')} {self.chance.choice('+-*')} {self.double(DEPTH_MAX)})",
            lambda: f"({self.column('x', 'y')} / {self.chance.choice(['2.0', '4.0', '-0.5'])})",
            lambda: f"({self.column('x')} + {self._bigint()})",
            lambda: f"{self.chance.choice(['abs', 'floor', 'ceil', 'round'])}({self.column('x')})",
            lambda: f"(- {self.column('x', 'y')})",
            lambda: f"CAST({self.column('r', 'w')} AS DOUBLE)",
            lambda: f"CAST({self.column('d', 'k')} AS DOUBLE)",
            lambda: f"coalesce({self.column('x', 'y')}, {self._bigint()})",
            lambda: f"CASE WHEN {self.boolean(depth + 1)} THEN {self._bigint()} ELSE {self._one('0.5', lambda: self.column('x'))} END",
            lambda: self._either("double", depth),
        )

    def decimal(self, depth: int = 0) -> str:
        leaf = [lambda: self.column("d"), lambda: self.column("d", "m")]
        if depth >= DEPTH_MAX:
            return self._one(*leaf)
        return self._one(
            *leaf,
            lambda: f"({self.column('d')} {self.chance.choice('+-')} {self._one('1.25', '1', lambda: self.column('d'))})",
            lambda: f"({self.column('d')} * {self.chance.choice(['2', '-1.5', '0.01'])})",
            lambda: f"abs({self.column('d', 'm')})",
            lambda: f"(- {self.column('d')})",
            lambda: f"coalesce({self.column('d')}, {self.chance.choice(['0', '0.00', '7.5'])})",
            lambda: f"CASE WHEN {self.boolean(depth + 1)} THEN {self.column('k')} ELSE {self.column('d')} END",
            lambda: self._either("decimal", depth),
        )

    def text(self, depth: int = 0) -> str:
        leaf = [lambda: self.column("s", "c"), lambda: literal(self.chance.choice(["a", "", "ab", "é", "it's"]))]
        if depth >= DEPTH_MAX:
            return self._one(lambda: self.column("s", "c"))
        size = self.chance.randint(1, 4)
        return self._one(
            *leaf,
            lambda: f"({self.column('s', 'c')} || {self.text(DEPTH_MAX)})",
            lambda: f"{self.chance.choice(['upper', 'lower', 'reverse'])}({self.column('c')})",
            lambda: f"substr({self.text(depth + 1)}, {size}, {self.chance.randint(0, 3)})",
            lambda: f"{self.chance.choice(['left', 'right'])}({self.column('s', 'c')}, {size})",
            lambda: f"replace({self.column('s', 'c')}, {self.chance.choice(['chr(97)', literal('P'), literal('漢')])}, 'x')",
            lambda: f"{self.chance.choice(['trim', 'ltrim', 'rtrim'])}({self.column('c')})",
            lambda: f"lpad({self.column('c')}, {size + 3}, '*')",
            lambda: f"concat({self.column('s')}, {self.column('c')})",
            lambda: f"split_part({self.column('c')}, ',', {size})",
            lambda: f"md5({self.column('s')})",
            lambda: f"CAST({self.column('t', 'h', 'n', 'i', 'k')} AS VARCHAR)",
            lambda: f"CAST({self.column('a')} AS VARCHAR)",
            lambda: self._either("text", depth),
        )

    def day(self, depth: int = 0) -> str:
        if depth >= DEPTH_MAX:
            return self.column("a")
        return self._one(
            lambda: self.column("a"),
            lambda: self._literal_of("a"),
            lambda: f"CAST({self.column('e')} AS DATE)",
            lambda: f"CAST({self.column('a')} + INTERVAL '{self.chance.choice(['3 days', '1 month', '36 hours', '-1 day'])}' AS DATE)",
            lambda: f"CAST(date_trunc('{self.chance.choice(['month', 'year'])}', {self.column('a')}) AS DATE)",
            lambda: self._either("day", depth),
        )

    def instant(self, depth: int = 0) -> str:
        if depth >= DEPTH_MAX:
            return self.column("e")
        return self._one(
            lambda: self.column("e"),
            lambda: self._literal_of("e"),
            lambda: f"({self.column('e')} + INTERVAL '{self.chance.choice(['3 days', '36 hours', '-90 minutes', '1 month'])}')",
            lambda: f"date_trunc('{self.chance.choice(['hour', 'day', 'month', 'year'])}', {self.column('e')})",
            lambda: f"CASE WHEN {self.boolean(depth + 1)} THEN {self.column('a')} ELSE {self.column('e')} END",
            lambda: self._either("instant", depth),
        )

    def _literal_of(self, *names: str) -> str:
        _, column = self.chance.choice(self.scope.named(*names))
        return literal(self.chance.choice([value for value in column.values if value is not None]))

    def boolean(self, depth: int = 0) -> str:
        """A predicate; mostly a column beside a literal, by which files are pruned."""
        if depth >= DEPTH_MAX or self.chance.random() < 0.45:
            return self.simple()
        inner = depth + 1
        return self._one(
            lambda: f"({self.boolean(inner)} AND {self.boolean(inner)})",
            lambda: f"({self.boolean(inner)} OR {self.boolean(inner)})",
            lambda: f"(NOT {self.boolean(inner)})",
            lambda: f"({self.boolean(inner)} IS {self.chance.choice(['TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE', 'UNKNOWN', 'NOT UNKNOWN'])})",
            lambda: self._compared(inner),
            lambda: self._compared(inner),
            lambda: f"({self.any(inner)} IS {self.chance.choice(['', 'NOT '])}NULL)",
            lambda: self._either("boolean", depth),
        )

    def _compared(self, depth: int) -> str:
        kind = self.chance.choice([kind for kind in KINDS if kind != "boolean"])
        one, other = self.of(kind, depth), self.of(kind, depth)
        return self._one(
            f"({one} {self.chance.choice(['=', '<>', '<', '<=', '>', '>='])} {other})",
            f"({one} IS {self.chance.choice(['', 'NOT '])}DISTINCT FROM {other})",
            lambda: f"({one} {self.chance.choice(['', 'NOT '])}BETWEEN {other} AND {self.of(kind, depth)})",
            lambda: f"({one} {self.chance.choice(['', 'NOT '])}IN ({other}, {self.of(kind, depth)}))",
        )

    def simple(self) -> str:
        """A column beside literals of its own values."""
        text, column = self.chance.choice(self.scope.columns)
        values = [literal(value) for value in self.chance.choices(column.values, k=self.chance.choice([2, 3, 5, 12])) if value is not None]
        if column.name == "o" and self.chance.random() < 0.5:
            return text
        if not values or self.chance.random() < 0.15:
            return f"({text} IS {self.chance.choice(['', 'NOT '])}NULL)"
        if column.name in ("s", "c") and self.chance.random() < 0.3:
            return self._like(text, column)
        # NULL needs another element in the list, from which it gets its type.
        members = ", ".join(values + (["NULL"] if self.chance.random() < 0.15 else []))
        return self._one(
            f"({text} {self.chance.choice(['=', '<>', '<', '<=', '>', '>='])} {values[0]})",
            f"({values[0]} {self.chance.choice(['=', '<', '>='])} {text})",
            f"({text} {self.chance.choice(['', 'NOT '])}IN ({members}))",
            f"({text} {self.chance.choice(['', 'NOT '])}BETWEEN {values[0]} AND {values[-1]})",
            f"({text} IS {self.chance.choice(['', 'NOT '])}DISTINCT FROM {values[0]})",
            "(" + " OR ".join(f"{text} = {value}" for value in values) + ")",
        )

    def _like(self, text: str, column: Column) -> str:
        value = str(self.chance.choice([value for value in column.values if value])).replace("\\", "")
        cut = value[: self.chance.randint(0, 3)]
        pattern = self.chance.choice([f"{cut}%", f"%{cut}", f"%{cut}%", f"{cut}_", "_%", "%", "__", value, f"{cut}%{value[-1]}"])
        operator = self.chance.choice(["LIKE", "LIKE", "NOT LIKE", "ILIKE" if pattern.isascii() and column.name == "c" else "LIKE"])
        return self._one(f"({text} {operator} {literal(pattern)})", f"starts_with({text}, {literal(cut)})")
