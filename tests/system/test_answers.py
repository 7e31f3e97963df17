"""docs/answers.md: each statement has the answer that the page gives, by each road and in each form."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fuzz import roads
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
    """Of a statement without rows the page does not say how many columns it has."""
    return bool(line.rows) or not re.match(r"SELECT \*|SELECT [^(]*,", line.statement)


FORMS: dict[str, Callable[[Line], str]] = {
    "as it stands": lambda line: line.statement,
    "in a CTE": as_cte,
    "in a derived table": as_derived_table,
}


class Asked:
    """All statements in all forms, asked at once by one road."""

    def __init__(self, road: roads.Road, forms: dict[str, Callable[[Line], str]]):
        self.found = {}
        for name, form in forms.items():
            lines = [line for line in LINES if has_right_width(line)]
            found = road([(form(line), schema_of(line)) for line in lines])
            self.found |= {(line.statement, name): answer for line, answer in zip(lines, found, strict=True)}

    def must_be_right(self, line: Line, form: str, *, ordered: bool = False) -> None:
        answer = self.found[line.statement, form]
        rows = None if answer.rows is None else [tuple(map(answers_page.value, row)) for row in answer.rows]
        right = answers.published(line.rows) if answer.is_published and line.rows else line.rows
        wrong = Line(line.statement, right, line.is_refusal_right).wrong(rows, answer.error, ordered=ordered)
        assert not wrong, f"{form}: {wrong}"


def schema_of(line: Line) -> pa.Schema:
    """For the shell's text: each value as it is printed."""
    return pa.schema([(name, pa.string()) for name in columns_of(line)])


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("answers")
    answers_page.write_tables(made / "lake")
    answers_page.write_tables(made / "renamed" / "lake", renamed)
    return made


@pytest.fixture(scope="module")
def by_flight(isobar, directory) -> Asked:
    with roads.flight(isobar_over(str(isobar), directory)) as road:
        return Asked(road, FORMS)


@pytest.fixture(scope="module")
def by_shell(isobar, directory) -> Asked:
    with roads.shell(isobar_over(str(isobar), directory)) as road:
        return Asked(road, FORMS)


@pytest.fixture(scope="module")
def renamed_by_flight(isobar, directory) -> Asked:
    with roads.flight(isobar_over(str(isobar), directory / "renamed")) as road:
        return Asked(road, {"with other names": lambda line: renamed(line.statement)})


@pytest.fixture(scope="module")
def by_query_file(isobar, directory) -> Asked:
    with roads.runs(isobar_over(str(isobar), directory), directory) as road:
        return Asked(road, {"as a query file": as_derived_table})


statements = pytest.mark.parametrize("line", [line for line in LINES if has_right_width(line)], ids=lambda line: line.statement[:100])


@statements
@pytest.mark.parametrize("form", FORMS)
def test_by_flight(by_flight, line, form):
    by_flight.must_be_right(line, form, ordered=line.is_ordered and form == "as it stands")


@statements
@pytest.mark.parametrize("form", FORMS)
def test_by_shell(by_shell, line, form):
    by_shell.must_be_right(line, form, ordered=line.is_ordered and form == "as it stands")


@statements
def test_with_other_names(renamed_by_flight, line):
    renamed_by_flight.must_be_right(line, "with other names", ordered=line.is_ordered)


@statements
def test_as_a_query_file(by_query_file, line):
    by_query_file.must_be_right(line, "as a query file")
