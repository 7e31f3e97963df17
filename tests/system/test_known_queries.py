"""TPC-H's 22 queries and ClickBench's 43 on small data: each has the rows of DuckDB through the shell and Flight SQL."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fuzz import clients
from fuzz.run import isobar_over
from support import answers
from support.binary import Isobar
from support.foreign import Foreign, statements, tpch
from support.hits import hits

HERE = Path(__file__).resolve().parent
TPCH = statements(HERE / "statements/tpch.sql")
CLICKBENCH = statements(HERE / "statements/clickbench.sql")
# Averages and quotients of decimals keep six decimals here, and are doubles in DuckDB.
SIX_DIGITS = 1e-6


class Asked:
    """The rows of statements by name: from DuckDB, and from isobar through Flight SQL and the shell."""

    def __init__(self, foreign: Foreign, statements: dict[str, str], isobar: Isobar):
        self.right = {name: foreign.right(sql) for name, sql in statements.items()}
        asked = [(sql, self.right[name].schema) for name, sql in statements.items()]
        with clients.flight(isobar) as flight, clients.shell(isobar) as shell:
            self.clients = [dict(zip(statements, client(asked), strict=True)) for client in (flight, shell)]

    def must_be_right(self, name: str, *, ordered: bool) -> None:
        right = self.right[name]
        assert right.num_rows, "the data leave this query nothing to answer"
        for answers_by_client in self.clients:
            found = answers_by_client[name]
            assert found.rows is not None, found.error
            wrong = answers.difference(
                found.rows, answers.rows(right), answers.floats(right.schema), ordered=ordered, absolute=SIX_DIGITS
            )
            assert not wrong, wrong


def asked(isobar: Path, directory: Path, tables: dict[str, pa.Table], statements: Callable) -> Asked:
    with Foreign(directory / "lake") as foreign:
        for name, rows in tables.items():
            foreign.write(name, rows, files=3 if rows.num_rows > 1000 else 1)
        return Asked(foreign, statements(foreign), isobar_over(str(isobar), directory))


@pytest.fixture(scope="module")
def of_tpch(isobar, tmp_path_factory) -> Asked:
    directory = tmp_path_factory.mktemp("tpch")
    return asked(isobar, directory, tpch(0.01, directory), lambda _: TPCH)


@pytest.fixture(scope="module")
def of_clickbench(isobar, tmp_path_factory) -> Asked:
    directory = tmp_path_factory.mktemp("clickbench")
    return asked(isobar, directory, {"hits": hits(26_000)}, with_and_without_ties)


def with_and_without_ties(foreign: Foreign) -> dict[str, str]:
    widths = {name: foreign.right(sql).num_columns for name, sql in CLICKBENCH.items()}
    broken = {f"{name} without ties": ties_broken(sql, widths[name]) for name, sql in CLICKBENCH.items()}
    return CLICKBENCH | broken


def ties_broken(sql: str, columns: int) -> str:
    """The same query with one possible answer: rows that its ORDER BY leaves equal follow the columns of the result.

    A LIMIT that cuts ties may keep any of them.
    """
    head, limit, rest = sql.partition(" LIMIT ")
    order = f"{head}, " if "ORDER BY" in head else f"{head} ORDER BY "
    # The first columns distinguish wide rows.
    positions = ", ".join(str(at + 1) for at in range(min(columns, 6)))
    return f"{order}{positions}{limit}{rest}" if limit else sql


@pytest.mark.parametrize("name", TPCH)
def test_tpch_query_has_the_rows_of_duckdb(of_tpch, name):
    # Its own ORDER BY leaves no ties on these data, and what has no LIMIT is ordered in full.
    of_tpch.must_be_right(name, ordered=True)


@pytest.mark.parametrize("name", CLICKBENCH)
def test_clickbench_query_has_the_rows_of_duckdb(of_clickbench, name):
    right = of_clickbench.right[name]
    for answers_by_client in of_clickbench.clients:
        found = answers_by_client[name]
        assert found.rows is not None, found.error
        assert len(found.rows) == right.num_rows
    of_clickbench.must_be_right(f"{name} without ties", ordered="LIMIT" in CLICKBENCH[name])
