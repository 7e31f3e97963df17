"""Compares the results of one client with those of DuckDB, with those over the twins, and with each other.

Errors are compared too: where DuckDB reports an overflow, so must Isobar, unless a condition may exclude the value; and only
there.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from fuzz.expressions import for_oracle
from fuzz.known import Line
from fuzz.clients import Answer, Client
from fuzz.statements import Statement, predicate_forms
from support import answers
from support.foreign import Foreign

# Averages of decimals keep six decimals.
ABS = 1e-6
# Limit of the differences whose statements are shrunk, and of the shown characters of an error.
SHRUNK_MAX, ERROR_MAX = 10, 600

COUNT_SCHEMA = pa.schema([("n", pa.int64())])
FORMS_SCHEMA = pa.schema([("form", pa.string()), ("n", pa.int64())])


@dataclass(frozen=True)
class Difference:
    """A statement with a wrong result, what is wrong, and over what: the table, its twin, or a form of a predicate."""

    statement: str
    wrong: str
    over: str


@dataclass
class Findings:
    """The findings of a run so far."""

    known: list[Line]
    compared: int = 0
    # Statements that DuckDB refuses: compared with the twins only.
    without_oracle: int = 0
    explained: Counter = field(default_factory=Counter)
    unexplained: list[Difference] = field(default_factory=list)

    def explains(self, statement: str, how: str) -> bool:
        """Whether a line of the list explains the difference."""
        for line in self.known:
            if line.explains(statement, how):
                line.used += 1
                self.explained[line.reference] += 1
                return True
        return False

    def add(self, difference: Difference) -> None:
        if not self.explains(difference.statement, difference.wrong):
            self.unexplained.append(difference)

    def report(self, seed: int) -> str:
        lines = [f"{at.over}: {at.wrong}\n{repeat(at.statement, seed)}" for at in self.unexplained]
        explained = ", ".join(f"{count} by {reference}" for reference, count in self.explained.items()) or "none"
        summary = (
            f"seed {seed}: {self.compared} answers compared ({self.without_oracle} of them without DuckDB),"
            f" {len(self.unexplained)} unexplained differences, explained: {explained}."
        )
        return "\n".join([*lines, summary])


def repeat(statement: str, seed: int) -> str:
    """The command that repeats one statement."""
    return f"make -s fuzz-sql FUZZ='--seed {seed} --only' <<'SQL'\n{statement}\nSQL\n"


class Oracle:
    """DuckDB, the oracle."""

    def __init__(self, foreign: Foreign):
        self.foreign = foreign

    def answer(self, sql: str) -> tuple[Answer | None, pa.Schema | None]:
        """The rows, or none if DuckDB refuses the statement."""
        try:
            found = self.foreign.right(sql)
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            return Answer(error=str(error)), None
        except duckdb.Error:
            return None, None
        return Answer(answers.rows(found)), found.schema

    def fails_as_written(self, sql: str) -> bool:
        """Whether a value overflows when DuckDB also computes what its statistics make unnecessary: it knows that a
        sum without nulls is not null."""
        self.foreign.oracle.execute("SET disabled_optimizers = 'statistics_propagation'")
        try:
            answer, _ = self.answer(sql)
        finally:
            self.foreign.oracle.execute("RESET disabled_optimizers")
        return answer is not None and bool(answer.error)


# Isobar does not compute what these exclude, so it cannot fail there; DuckDB computes some of it.
EXCLUDING = re.compile(r"\b(AND|OR|CASE|coalesce|FILTER)\b|\(SELECT")


def wrong(found: Answer, right: Answer, statement: Statement) -> str | None:
    """Describes in a line what is wrong with a result."""
    if right.error:
        return None if found.error else f"{len(found.rows)} rows, where an error is right: {first_line(right.error)}"
    if found.error:
        return f"error: {found.error[:ERROR_MAX]}"
    rows = answers.published(right.rows) if found.is_published else right.rows
    return answers.difference(
        found.rows, rows, statement.approximate, ordered=bool(statement.order), absolute=ABS
    )


def first_line(text: str) -> str:
    return text.strip().split("\n")[0]


class Comparer:
    """Runs statements by one client, and compares the results."""

    def __init__(self, client: Client, oracle: Oracle, findings: Findings):
        self.client, self.oracle, self.findings = client, oracle, findings

    def statements(self, drawn: list[Statement], twins: bool = True) -> None:
        right = [self.oracle.answer(statement.oracle()) for statement in drawn]
        first: list[Answer] = []
        for text in (Statement.text, Statement.twin) if twins else (Statement.text,):
            asked = [(text(statement), schema) for statement, (_, schema) in zip(drawn, right, strict=True)]
            found = list(self.client(asked))
            # A statement that DuckDB refuses must at least have one answer over both tables.
            first = first or found
            for statement, (expected, _), usual, answer in zip(drawn, right, first, found, strict=True):
                self.findings.compared += 1
                self.findings.without_oracle += expected is None
                self._compare(statement, text, expected or usual, answer)

    def _compare(self, statement: Statement, text: Callable, right: Answer, found: Answer) -> None:
        if right.error and not found.error and EXCLUDING.search(statement.text()):
            self.findings.without_oracle += 1
            return
        if found.error and not right.error and self.oracle.fails_as_written(statement.oracle()):
            return
        if how := wrong(found, right, statement):
            over = "twin" if text is Statement.twin else "table"
            if self.findings.explains(text(statement), how):
                return
            if len(self.findings.unexplained) < SHRUNK_MAX:
                statement, how = self._shrunk(statement, text, how)
            self.findings.unexplained.append(Difference(text(statement), how, over))

    def _shrunk(self, statement: Statement, text: Callable, how: str) -> tuple[Statement, str]:
        """The smallest statement found that has the same difference."""
        for smaller in statement.smaller():
            right, schema = self.oracle.answer(smaller.oracle())
            if right is None:
                continue
            [found] = self.client([(text(smaller), schema)])
            still = wrong(found, right, smaller)
            if still and still[:5] == how[:5]:
                return self._shrunk(smaller, text, still)
        return statement, how

    def predicates(self, drawn: list[tuple[str, str]]) -> None:
        """Each a predicate and its table: all its forms say the number that DuckDB says.

        Each is asked in all forms in one statement, which is quicker, and form by form where that fails or differs.
        """
        forms = [predicate_forms(predicate, table) for predicate, table in drawn]
        found = self.client([(together(of_one), FORMS_SCHEMA) for of_one in forms])
        for of_one, answer in zip(forms, found, strict=True):
            self.findings.compared += len(of_one)
            right, _ = self.oracle.answer(for_oracle(of_one["where"]))
            if right is None:
                self.findings.without_oracle += len(of_one)
            counts = {n for _, n in answer.rows or []}
            if len(counts) != 1 or (right and not right.error and counts != {right.rows[0][0]}):
                self._one_by_one(of_one, right, answer)

    def _one_by_one(self, forms: dict[str, str], right: Answer | None, whole: Answer) -> None:
        """The forms that are wrong are one difference, shown by the first of them. `whole` may be too long to be answered."""
        asked = list(self.client([(sql, COUNT_SCHEMA) for sql in forms.values()]))
        said = {name: one.error or one.rows[0][0] for name, one in zip(forms, asked, strict=True)}
        if right and right.error:
            expected = f"an error: {first_line(right.error)}"
            odd = [name for name, one in zip(forms, asked, strict=True) if not one.error]
        else:
            expected = right.rows[0][0] if right else said["where"]
            odd = [name for name in forms if said[name] != expected]
        if odd:
            how = f"{str(said[odd[0]])[:ERROR_MAX]}, not {expected}; so in {len(odd)} of {len(forms)} forms"
            self.findings.add(Difference(forms[odd[0]], how, ", ".join(odd)))
        elif not (right and right.error) and "over the limit" not in whole.error:
            self.findings.add(Difference(together(forms), "each form alone is right, all in one statement are not", "union"))


def together(forms: dict[str, str]) -> str:
    return " UNION ALL ".join(f"SELECT '{name}' AS form, CAST(({sql}) AS BIGINT) AS n" for name, sql in forms.items())
