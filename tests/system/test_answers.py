"""docs/answers.md: each statement has the rows of the page, by each client and in each form."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fuzz import clients
from fuzz.run import isobar_over
from support import answers, answers_page
from support.answers_page import Line, renamed

LINES = answers_page.lines()


def columns_of(line: Line) -> list[str]:
    return [f"c{at}" for at in range(len(line.rows[0]) if line.rows else 1)]


def as_cte(line: Line) -> str:
    return f"WITH answer ({', '.join(columns_of(line))}) AS ({line.statement}) SELECT * FROM answer"


def as_derived_table(line: Line) -> str:
    return f"SELECT * FROM ({line.statement}) AS answer ({', '.join(columns_of(line))})"


def has_right_width(line: Line) -> bool:
    """False if the page does not show the number of columns, as for a statement without rows."""
    return bool(line.rows) or not re.match(r"SELECT \*|SELECT [^(]*,", line.statement)


FORMS: dict[str, Callable[[Line], str]] = {
    "as it stands": lambda line: line.statement,
    "in a CTE": as_cte,
    "in a derived table": as_derived_table,
}


class Asked:
    """The results of all statements in all forms, by one client."""

    def __init__(self, client: clients.Client, forms: dict[str, Callable[[Line], str]]):
        self.found = {}
        for name, form in forms.items():
            lines = [line for line in LINES if has_right_width(line)]
            found = client([(form(line), schema_of(line)) for line in lines])
            self.found |= {(line.statement, name): answer for line, answer in zip(lines, found, strict=True)}

    def must_be_right(self, line: Line, form: str, *, ordered: bool = False) -> None:
        answer = self.found[line.statement, form]
        rows = None if answer.rows is None else [tuple(map(answers_page.value, row)) for row in answer.rows]
        right = answers.published(line.rows) if answer.is_published and line.rows else line.rows
        wrong = Line(line.statement, right, line.is_refusal_right).wrong(rows, answer.error, ordered=ordered)
        assert not wrong, f"{form}: {wrong}"


def schema_of(line: Line) -> pa.Schema:
    """The schema for the text of the shell: each value as printed."""
    return pa.schema([(name, pa.string()) for name in columns_of(line)])


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("answers")
    answers_page.write_tables(made / "lake")
    answers_page.write_tables(made / "renamed" / "lake", renamed)
    return made


@pytest.fixture(scope="module")
def by_flight(isobar, directory) -> Asked:
    with clients.flight(isobar_over(str(isobar), directory)) as client:
        return Asked(client, FORMS)


@pytest.fixture(scope="module")
def by_shell(isobar, directory) -> Asked:
    with clients.shell(isobar_over(str(isobar), directory)) as client:
        return Asked(client, FORMS)


@pytest.fixture(scope="module")
def renamed_by_flight(isobar, directory) -> Asked:
    with clients.flight(isobar_over(str(isobar), directory / "renamed")) as client:
        return Asked(client, {"with other names": lambda line: renamed(line.statement)})


@pytest.fixture(scope="module")
def by_query_file(isobar, directory) -> Asked:
    with clients.runs(isobar_over(str(isobar), directory), directory) as client:
        return Asked(client, {"as a query file": as_derived_table})


statements = pytest.mark.parametrize("line", [line for line in LINES if has_right_width(line)], ids=lambda line: line.statement[:100])


@statements
@pytest.mark.parametrize("form", FORMS)
def test_statement_over_flight_has_expected_rows(by_flight, line, form):
    by_flight.must_be_right(line, form, ordered=line.is_ordered and form == "as it stands")


@statements
@pytest.mark.parametrize("form", FORMS)
def test_statement_in_shell_has_expected_rows(by_shell, line, form):
    by_shell.must_be_right(line, form, ordered=line.is_ordered and form == "as it stands")


@statements
def test_statement_with_renamed_columns_has_expected_rows(renamed_by_flight, line):
    renamed_by_flight.must_be_right(line, "with other names", ordered=line.is_ordered)


@statements
def test_statement_as_query_file_has_expected_rows(by_query_file, line):
    by_query_file.must_be_right(line, "as a query file")
