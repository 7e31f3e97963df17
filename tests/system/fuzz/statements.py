"""Random statements: each a SELECT in parts, so that one that fails can be made smaller part by part.

All but those that say how they are ordered are compared as multisets. Where order decides what comes, as in LIMIT and in
windows, the ORDER BY ends in `id`, which no two rows share.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fuzz.expressions import Expressions, Scope, for_oracle
from fuzz.tables import TWIN, Table


@dataclass(frozen=True)
class Statement:
    columns: tuple[str, ...]
    source: str
    where: tuple[str, ...] = ()
    # GROUP BY and HAVING; a set operation with its second half.
    tail: str = ""
    # ORDER BY and LIMIT: the rows are then compared in this order.
    order: str = ""
    # WITH, before SELECT.
    head: str = ""
    distinct: bool = False
    # The columns whose last digits may differ.
    approximate: frozenset[int] = frozenset()

    def text(self) -> str:
        """The text for Isobar."""
        columns = ", ".join(f"{column} AS c{at}" for at, column in enumerate(self.columns))
        where = f" WHERE {' AND '.join(self.where)}" if self.where else ""
        parts = [self.head, "SELECT DISTINCT " if self.distinct else "SELECT ", columns, " FROM ", self.source]
        return "".join([*parts, where, self.tail, self.order])

    def twin(self) -> str:
        """The text over the twins, which allow no pruning."""
        return re.sub(r"\bt(\d)\b", rf"t\1{TWIN}", self.text())

    def oracle(self) -> str:
        return for_oracle(self.text())

    def smaller(self) -> Iterator["Statement"]:
        """The statements with one part removed."""
        if len(self.columns) > 1 and not self.tail and not self.order:
            for at in range(len(self.columns)):
                yield replace(self, columns=self.columns[:at] + self.columns[at + 1 :], approximate=frozenset())
        for at in range(len(self.where)):
            yield replace(self, where=self.where[:at] + self.where[at + 1 :])
        if self.order:
            yield replace(self, order="")
        if self.distinct:
            yield replace(self, distinct=False)


class Statements:
    """Draws statements over some tables."""

    def __init__(self, seed: str, tables: list[Table]):
        self.chance, self.tables = random.Random(seed), tables

    def draw(self) -> Statement:
        forms = [
            self.projection, self.projection, self.sorted, self.aggregated, self.grouped, self.grouped, self.grouping_sets,
            self.distinct, self.joined, self.joined, self.joined_using, self.set_operation, self.in_subquery, self.exists,
            self.scalar_subquery, self.windowed, self.windowed, self.derived, self.mixed,
        ]  # fmt: skip
        return self.chance.choice(forms)()

    def _over(self, table: Table | None = None) -> tuple[Table, Expressions]:
        table = table or self.chance.choice(self.tables)
        return table, Expressions(self.chance, Scope.of(table))

    def _where(self, made: Expressions) -> tuple[str, ...]:
        return tuple(made.boolean() for _ in range(self.chance.choice([0, 1, 1, 2])))

    def _values(self, made: Expressions, most: int = 4) -> tuple[str, ...]:
        return tuple(made.any() for _ in range(self.chance.randint(1, most)))

    def projection(self) -> Statement:
        table, made = self._over()
        return Statement(("id", *self._values(made)), table.name, self._where(made))

    def sorted(self) -> Statement:
        table, made = self._over()
        values = self._values(made, 2)
        limit = f" LIMIT {self.chance.choice([1, 5, 20])}" + self.chance.choice(["", " OFFSET 3"])
        order = ", ".join([*(f"{at + 2} {self._direction()}" for at in range(len(values))), "id"])
        return Statement(("id", *values), table.name, self._where(made), order=f" ORDER BY {order}{limit}")

    def _direction(self) -> str:
        return self.chance.choice(["ASC", "DESC"]) + self.chance.choice([" NULLS FIRST", " NULLS LAST"])

    def _aggregate(self, made: Expressions) -> tuple[str, bool]:
        """An aggregate, and whether its last digits depend on the order of rows."""
        exact = [
            "count(*)",
            f"count({made.any(1)})",
            f"count(DISTINCT {made.any(1)})",
            f"min({made.any(1)})",
            f"max({made.any(1)})",
            f"min({made.column('i', 'y', 's', 'a', 'e', 'm', 'w')})",
            f"max({made.column('i', 'y', 's', 'a', 'e', 'm', 'w')})",
            f"sum({made.column('t', 'h', 'n', 'k', 'id')})",
            f"sum({made.column('x')})",
            f"sum({made.column('d')})",
            f"sum(CASE WHEN {made.boolean(1)} THEN 1 ELSE {self.chance.choice(['0', '0.5', 'NULL'])} END)",
            f"median({made.column('x')})",
            f"bool_and({made.boolean(1)})",
            f"bool_or({made.boolean(1)})",
            f"string_agg({made.column('s', 'c')}, '|' ORDER BY {made.column('id')})",
            f"array_agg({made.column('k', 'c')} ORDER BY {made.column('id')})",
        ]
        rounded = [
            f"avg({made.column('x', 'k', 'h')})",
            f"CAST(avg({made.column('d')}) AS DOUBLE)",
            f"{self.chance.choice(['stddev', 'stddev_pop', 'var_pop', 'var_samp'])}({made.column('x', 'k')})",
        ]
        is_rounded = self.chance.random() < 0.2
        text = self.chance.choice(rounded if is_rounded else exact)
        if self.chance.random() < 0.15 and "CAST(" not in text[:5]:
            text += f" FILTER (WHERE {made.boolean(1)})"
        return text, is_rounded

    def _aggregates(self, made: Expressions, first: int) -> tuple[tuple[str, ...], frozenset[int]]:
        drawn = [self._aggregate(made) for _ in range(self.chance.randint(1, 4))]
        return tuple(text for text, _ in drawn), frozenset(first + at for at, (_, rounded) in enumerate(drawn) if rounded)

    def aggregated(self) -> Statement:
        table, made = self._over()
        columns, approximate = self._aggregates(made, 0)
        return Statement(columns, table.name, self._where(made), approximate=approximate)

    def _keys(self, made: Expressions) -> list[str]:
        columns = ["k", "c", "o", "a", "p", "y", "w", "d", "s", "z", "e"]
        keys = [made.column(name) for name in self.chance.sample(columns, self.chance.randint(1, 2))]
        if self.chance.random() < 0.3:
            # Of a kind that no constant has: a constant in GROUP BY would be a position.
            keys[-1] = f"coalesce({made.text(2)}, {made.column('c')})"
        return keys

    def grouped(self) -> Statement:
        table, made = self._over()
        keys = self._keys(made)
        columns, approximate = self._aggregates(made, len(keys))
        having = f" HAVING {self.chance.choice(['count(*) > 1', 'max(id) > 20', 'count(k) > 0 OR min(x) < 0'])}"
        tail = f" GROUP BY {', '.join(keys)}" + (having if self.chance.random() < 0.3 else "")
        return Statement((*keys, *columns), table.name, self._where(made), tail, approximate=approximate)

    def grouping_sets(self) -> Statement:
        table, made = self._over()
        one, other = self.chance.sample(["k", "c", "o", "p", "a"], 2)
        columns, approximate = self._aggregates(made, 3)
        sets = self.chance.choice([f"ROLLUP ({one}, {other})", f"CUBE ({one}, {other})", f"GROUPING SETS (({one}), ({other}), ())"])
        keys = (one, other, f"grouping({one}) + 2 * grouping({other})")
        return Statement((*keys, *columns), table.name, self._where(made), f" GROUP BY {sets}", approximate=approximate)

    def distinct(self) -> Statement:
        table, made = self._over()
        return Statement(self._values(made, 2), table.name, self._where(made), distinct=True)

    def _pair(self) -> tuple[Table, Table, Expressions, Expressions, Expressions]:
        left, right = self.chance.choice(self.tables), self.chance.choice(self.tables)
        one, other = Scope.of(left, "l."), Scope.of(right, "r.")
        return left, right, *(Expressions(self.chance, scope) for scope in (one, other, one + other))

    def joined(self) -> Statement:
        left, right, one, other, both = self._pair()
        kind = self.chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"])
        shared = self.chance.choice(["id", "id", "id", "n", "s", "a", "d", "y", "i", "e"])
        condition = f"l.{shared} = r.{shared}"
        if shared != "id":
            condition += " AND r.id < 12"
        if self.chance.random() < 0.4:
            condition += f" AND {one.boolean(1)}"
        if self.chance.random() < 0.3:
            condition += f" AND {both.simple()}"
        is_half = "SEMI" in kind or "ANTI" in kind
        made = one if is_half else both
        columns = ("l.id", *self._values(made, 2)) if is_half else ("l.id", "r.id", *self._values(made, 2))
        where = tuple(made.boolean(1) for _ in range(self.chance.choice([0, 0, 1])))
        return Statement(columns, f"{left.name} AS l {kind} {right.name} AS r ON {condition}", where)

    def joined_using(self) -> Statement:
        left, right, _, _, both = self._pair()
        kind = self.chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        source = f"{left.name} AS l {kind} (SELECT * FROM {right.name} WHERE id < 9) AS r USING (id)"
        columns = ("id", "l.id", "r.id", self.chance.choice(["l.k", "r.k", "coalesce(l.s, r.s)", "id + 1"]))
        where = self.chance.choice([(), ("id > 3",), ("id IS NOT NULL",), (both.simple().replace("l.id", "id").replace("r.id", "id"),)])
        return Statement(columns, source, where)

    def set_operation(self) -> Statement:
        table, made = self._over()
        second, more = self._over()
        kinds = self.chance.choice([["whole", "text"], ["double"], ["text", "day"], ["instant"], ["decimal"], ["boolean", "whole"]])
        others = ["double" if kind == "whole" and self.chance.random() < 0.4 else kind for kind in kinds]
        operation = self.chance.choice(["UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT"])
        where = " AND ".join(self._where(more)) or "TRUE"
        tail = f" {operation} SELECT {', '.join(more.of(kind) for kind in others)} FROM {second.name} WHERE {where}"
        return Statement(tuple(made.of(kind) for kind in kinds), table.name, self._where(made), tail)

    def in_subquery(self) -> Statement:
        table, made = self._over()
        second, more = self._over()
        key = self.chance.choice(["k", "n", "s", "c", "a", "d", "i", "y", "e", "t"])
        inner = " AND ".join(self._where(more)) or "TRUE"
        member = f"{key} {self.chance.choice(['', 'NOT '])}IN (SELECT {key} FROM {second.name} WHERE {inner})"
        if self.chance.random() < 0.25:
            return Statement(("id", f"({member})"), table.name, self._where(made))
        return Statement(("id", key), table.name, (member, *self._where(made)))

    def exists(self) -> Statement:
        table, second = self.chance.choice(self.tables), self.chance.choice(self.tables)
        made, inner = (Expressions(self.chance, Scope.of(of, prefix)) for of, prefix in ((table, "l."), (second, "r.")))
        key = self.chance.choice(["k", "n", "s", "a", "id"])
        test = f"{self.chance.choice(['', 'NOT '])}EXISTS (SELECT 1 FROM {second.name} AS r WHERE r.{key} = l.{key} AND {inner.boolean(1)})"
        return Statement(("l.id", f"l.{key}"), f"{table.name} AS l", (test, *self._where(made)))

    def scalar_subquery(self) -> Statement:
        table, second = self.chance.choice(self.tables), self.chance.choice(self.tables)
        made, inner = (Expressions(self.chance, Scope.of(of, prefix)) for of, prefix in ((table, "l."), (second, "r.")))
        correlated = f"r.{self.chance.choice(['k = l.k', 'id = l.id', 'c = l.c'])} AND " if self.chance.random() < 0.6 else ""
        value = f"(SELECT {self.chance.choice(['max', 'min', 'sum', 'count'])}(r.{self.chance.choice(['x', 'k'])}) FROM {second.name} AS r WHERE {correlated}{inner.boolean(1)})"
        if self.chance.random() < 0.5:
            return Statement(("l.id", value), f"{table.name} AS l", self._where(made))
        return Statement(("l.id",), f"{table.name} AS l", (f"l.x {self.chance.choice(['<', '>=', '='])} {value}",))

    def windowed(self) -> Statement:
        table, made = self._over()
        functions = tuple(self._window(made) for _ in range(self.chance.randint(1, 3)))
        return Statement(("id", *functions), table.name, self._where(made))

    def _window(self, made: Expressions) -> str:
        partition = self.chance.choice(["", f"PARTITION BY {made.column('k', 'c', 'o', 'p', 'y')} "])
        order = self.chance.choice(["id", "id DESC", f"{made.column('x', 'i', 's', 'a', 'y')} {self._direction()}, id"])
        value = self.chance.choice([made.column("x", "k", "s", "a", "d"), made.any(2)])
        size = self.chance.randint(0, 3)
        frame = self.chance.choice([
            "", f" ROWS BETWEEN {size} PRECEDING AND CURRENT ROW", f" ROWS BETWEEN {size} PRECEDING AND {size} FOLLOWING",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", f" ROWS BETWEEN 1 FOLLOWING AND {size + 1} FOLLOWING",
        ])  # fmt: skip
        if self.chance.random() < 0.2:
            order, frame = "id", f" RANGE BETWEEN {size * 3} PRECEDING AND {size} FOLLOWING"
        if self.chance.random() < 0.4:
            function = self.chance.choice(
                ["row_number()", "ntile(3)", f"lag({value}, {size})", f"lead({value}, {size})"]
            )
            return f"{function} OVER ({partition}ORDER BY {order})"
        if self.chance.random() < 0.2:
            ties = f"{made.column('x', 'k', 's', 'a', 'd', 'y')} {self._direction()}"
            return f"{self.chance.choice(['rank', 'dense_rank'])}() OVER ({partition}ORDER BY {ties})"
        function = self.chance.choice([
            f"first_value({value})", f"last_value({value})", f"nth_value({value}, 2)", f"count({value})", "count(*)",
            f"min({value})", f"max({value})", f"sum({made.column('k', 'x', 'd', 'h')})",
        ])  # fmt: skip
        return f"{function} OVER ({partition}ORDER BY {order}{frame})"

    def derived(self) -> Statement:
        """An outer filter over an inner projection, which a planner pushes through."""
        table, made = self._over()
        limit = self.chance.choice(["", "", " ORDER BY id LIMIT 17"])
        # SQL leaves open whether rows behind the limit may overflow.
        kinds = ["double", "text", "day", "instant"] if limit else ["whole", "double", "text", "day", "instant", "decimal"]
        inner = f"SELECT id, {made.of(self.chance.choice(kinds))} AS v, {made.boolean()} AS f FROM {table.name} WHERE {made.boolean()}"
        where = self.chance.choice([("f",), ("NOT f",), ("f IS NULL",), ("v IS NOT NULL",), ("f OR id > 5",), ("id < 30", "v = v")])
        if self.chance.random() < 0.5:
            return Statement(("id", "v", "f"), "q", where, head=f"WITH q AS ({inner}{limit}) ")
        return Statement(("id", "v"), f"({inner}{limit}) AS q", where)

    def mixed(self) -> Statement:
        """Branches of several numeric types, whose common type must hold them all."""
        table, made = self._over()
        # A DECIMAL beside a REAL is a DOUBLE here and in PostgreSQL, and a REAL in DuckDB.
        exact = self.chance.choice(["d", "r"])
        branches = ["1", "2.5", "t", "i", "x", exact, "0.5", "-3", "k", "CAST(7 AS SMALLINT)", "NULL"]
        one, other = self.chance.sample(branches[:-1], 2)
        last = self.chance.choice(branches)
        value = self.chance.choice([
            f"CASE WHEN {made.boolean(1)} THEN {one} ELSE {last} END", f"coalesce({one}, {other})",
            f"CASE {made.column('k')} WHEN 1 THEN {one} WHEN 2 THEN {other} ELSE {last} END",
        ])  # fmt: skip
        tail = f" UNION ALL SELECT id, {other} FROM {table.name} WHERE {made.boolean(1)}" if self.chance.random() < 0.4 else ""
        return Statement(("id", value), table.name, self._where(made), tail)


def predicate_forms(predicate: str, table: str) -> dict[str, str]:
    """Twelve ways to count the rows for which a predicate holds. Each has another plan, and all have the same count.

    The second is NoREC (the predicate where nothing can be pushed down), the fifth TLP (all rows less those where it is false
    or null).
    """
    return {
        "where": f"SELECT count(*) FROM {table} WHERE {predicate}",
        "norec": f"SELECT coalesce(sum(CASE WHEN {predicate} THEN 1 ELSE 0 END), 0) FROM {table}",
        "filter": f"SELECT count(*) FILTER (WHERE {predicate}) FROM {table}",
        "derived": f"SELECT count(*) FROM (SELECT {predicate} AS v FROM {table}) AS q WHERE v",
        "tlp": f"SELECT (SELECT count(*) FROM {table}) - (SELECT count(*) FROM {table} WHERE NOT {predicate})"
        f" - (SELECT count(*) FROM {table} WHERE {predicate} IS NULL)",
        "is true": f"SELECT count(*) FROM {table} WHERE ({predicate}) IS NOT DISTINCT FROM TRUE",
        "sorted": f"SELECT count(*) FROM (SELECT id FROM {table} WHERE {predicate} ORDER BY id LIMIT 100000) AS q",
        "semi": f"SELECT count(*) FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {predicate})",
        "joined": f"SELECT count(*) FROM {table} AS l JOIN (SELECT id FROM {table} WHERE {predicate}) AS r ON l.id = r.id",
        "grouped": f"SELECT coalesce(sum(n), 0) FROM (SELECT k, count(*) AS n FROM {table} WHERE {predicate} GROUP BY k) AS q",
        "union": f"SELECT count(*) FROM (SELECT id FROM {table} WHERE {predicate} UNION SELECT id FROM {table} WHERE {predicate}) AS q",
        "windowed": f"SELECT count(*) FROM (SELECT {predicate} AS v, row_number() OVER (ORDER BY id) AS n FROM {table}) AS q WHERE v",
    }
