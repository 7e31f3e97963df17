"""Fuzzes one seed: its tables, its statements, and the clients that run them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb

from fuzz import clients, tables
from fuzz.expressions import Expressions, Scope, for_oracle
from fuzz.comparison import Comparer, Findings, Oracle
from fuzz.known import Line
from fuzz.statements import Statement, Statements
from support import answers
from support.binary import Isobar
from support.foreign import Foreign

CLIENTS = ("shell", "flight")
# Statements that are drawn, run and compared together.
CHUNK = 60


@dataclass(frozen=True)
class Size:
    """Numbers of statements for each client."""

    statements: int
    predicates: int
    runs: int
    clients: tuple[str, ...] = CLIENTS


def fuzz(binary: str, directory: Path, seed: int, size: Size, known: list[Line]) -> Findings:
    findings = Findings(known)
    with Foreign(directory / "lake") as foreign:
        made = tables.make(foreign, seed)
        oracle = Oracle(foreign)
        isobar = isobar_over(binary, directory)
        for name in size.clients:
            with getattr(clients, name)(isobar) as client:
                _by_client(Comparer(client, oracle, findings), made, f"{seed} {name}", size)
        if size.runs:
            drawn = [statement for statement in _drawn(made, f"{seed} runs", size.runs * 2) if _is_publishable(statement)]
            with clients.runs(isobar, directory) as client:
                Comparer(client, oracle, findings).statements(drawn[: size.runs], twins=False)
    return findings


def only(binary: str, directory: Path, seed: int, statement: str) -> str:
    """The answers to one statement over a seed's tables, as JSON of the shell and as DuckDB prints them."""
    with Foreign(directory / "lake") as foreign:
        tables.make(foreign, seed)
        outcome = isobar_over(binary, directory).run("sql", "--format", "json", "-c", statement)
        try:
            right = "\n".join(map(repr, answers.rows(foreign.right(for_oracle(statement)))))
        except duckdb.Error as error:
            right = str(error)
    return f"--- isobar\n{outcome.stdout}{outcome.stderr}--- DuckDB\n{right}"


def isobar_over(binary: str, directory: Path) -> Isobar:
    variables = {
        "ISOBAR__LAKE__URL": f"file://{directory}/lake",
        "ISOBAR__EXPORT__BASE_PATH": f"file://{directory}/export",
    }
    return Isobar(binary, directory / "work", variables)


def _by_client(comparer: Comparer, made: list[tables.Table], seed: str, size: Size) -> None:
    statements = _drawn(made, seed, size.statements)
    for chunk in iter(lambda: list(islice(statements, CHUNK)), []):
        comparer.statements(chunk)
    predicates = _predicates(made, seed, size.predicates)
    for chunk in iter(lambda: list(islice(predicates, CHUNK // 4)), []):
        comparer.predicates(chunk)


def _drawn(made: list[tables.Table], seed: str, count: int) -> Iterator[Statement]:
    statements = Statements(f"statements {seed}", made)
    return (statements.draw() for _ in range(count))


def _is_publishable(statement: Statement) -> bool:
    """Whether a run can publish the rows: it keeps no order, and refuses lists."""
    return not statement.order and not any("array_agg" in column for column in statement.columns)


def _predicates(made: list[tables.Table], seed: str, count: int) -> Iterator[tuple[str, str]]:
    chance = random.Random(f"predicates {seed}")
    for _ in range(count):
        table = chance.choice(made)
        yield Expressions(chance, Scope.of(table)).boolean(), table.name
