"""Judges the answers of one road: beside DuckDB's, beside those over the twins, and beside each other.

An error is an answer too: where DuckDB says that a value leaves its type, so must Isobar, unless a condition may exclude that
value, and nowhere else.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from fuzz.expressions import for_oracle
from fuzz.known import Line
from fuzz.roads import Answer, Road
from fuzz.statements import Statement, predicate_forms
from support import answers
from support.foreign import Foreign

# Averages of decimals keep six digits behind the point.
ABS = 1e-6
# Of so many differences the statements are made smaller; of an error so much is shown.
SHRUNK_MAX, ERROR_MAX = 10, 600

COUNT_SCHEMA = pa.schema([("n", pa.int64())])
FORMS_SCHEMA = pa.schema([("form", pa.string()), ("n", pa.int64())])


@dataclass(frozen=True)
class Difference:
    """A statement that is answered wrongly, how, and over what: the table, its twin, or as which form of a predicate."""

    statement: str
    wrong: str
    over: str


@dataclass
class Verdict:
    """What a run has found so far."""

    known: list[Line]
    judged: int = 0
    # Those that DuckDB does not take: judged beside the twins alone.
    without_oracle: int = 0
    explained: Counter = field(default_factory=Counter)
    unexplained: list[Difference] = field(default_factory=list)

    def explains(self, statement: str, how: str) -> bool:
        """Whether a line of the list does."""
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
            f"seed {seed}: {self.judged} answers judged ({self.without_oracle} of them without DuckDB),"
            f" {len(self.unexplained)} unexplained differences, explained: {explained}."
        )
        return "\n".join([*lines, summary])


def repeat(statement: str, seed: int) -> str:
    """The command that asks this alone."""
    return f"make -s fuzz-sql FUZZ='--seed {seed} --only' <<'SQL'\n{statement}\nSQL\n"


class Oracle:
    """DuckDB's answers."""

    def __init__(self, foreign: Foreign):
        self.foreign = foreign

    def answer(self, sql: str) -> tuple[Answer | None, pa.Schema | None]:
        """None where it does not take the statement, so that it says nothing about the right answer."""
        try:
            found = self.foreign.right(sql)
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            return Answer(error=str(error)), None
        except duckdb.Error:
            return None, None
        return Answer(answers.rows(found)), found.schema

    def fails_as_written(self, sql: str) -> bool:
        """Whether a value leaves its type where DuckDB computes also what its statistics make needless: it knows that a
        sum without nulls is not null."""
        self.foreign.oracle.execute("SET disabled_optimizers = 'statistics_propagation'")
        try:
            answer, _ = self.answer(sql)
        finally:
            self.foreign.oracle.execute("RESET disabled_optimizers")
        return answer is not None and bool(answer.error)


# What these exclude, or need for no row, is not computed here, and so cannot fail; DuckDB computes some of it.
EXCLUDING = re.compile(r"\b(AND|OR|CASE|coalesce|FILTER)\b|\(SELECT")


def wrong(found: Answer, right: Answer, statement: Statement) -> str | None:
    """In a line, what is wrong with an answer."""
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


class Judge:
    """Asks by one road, and compares."""

    def __init__(self, road: Road, oracle: Oracle, verdict: Verdict):
        self.road, self.oracle, self.verdict = road, oracle, verdict

    def statements(self, drawn: list[Statement], twins: bool = True) -> None:
        right = [self.oracle.answer(statement.oracle()) for statement in drawn]
        first: list[Answer] = []
        for text in (Statement.text, Statement.twin) if twins else (Statement.text,):
            asked = [(text(statement), schema) for statement, (_, schema) in zip(drawn, right, strict=True)]
            found = list(self.road(asked))
            # What DuckDB does not take must at least have one answer over both tables.
            first = first or found
            for statement, (expected, _), usual, answer in zip(drawn, right, first, found, strict=True):
                self.verdict.judged += 1
                self.verdict.without_oracle += expected is None
                self._judge(statement, text, expected or usual, answer)

    def _judge(self, statement: Statement, text: Callable, right: Answer, found: Answer) -> None:
        if right.error and not found.error and EXCLUDING.search(statement.text()):
            self.verdict.without_oracle += 1
            return
        if found.error and not right.error and self.oracle.fails_as_written(statement.oracle()):
            return
        if how := wrong(found, right, statement):
            over = "twin" if text is Statement.twin else "table"
            if self.verdict.explains(text(statement), how):
                return
            if len(self.verdict.unexplained) < SHRUNK_MAX:
                statement, how = self._shrunk(statement, text, how)
            self.verdict.unexplained.append(Difference(text(statement), how, over))

    def _shrunk(self, statement: Statement, text: Callable, how: str) -> tuple[Statement, str]:
        """The smallest statement found that is still wrong in the same manner."""
        for smaller in statement.smaller():
            right, schema = self.oracle.answer(smaller.oracle())
            if right is None:
                continue
            [found] = self.road([(text(smaller), schema)])
            still = wrong(found, right, smaller)
            if still and still[:5] == how[:5]:
                return self._shrunk(smaller, text, still)
        return statement, how

    def predicates(self, drawn: list[tuple[str, str]]) -> None:
        """Each a predicate and its table: all its forms say the number that DuckDB says.

        Each is asked in all forms in one statement, which is quicker, and form by form where that fails or differs.
        """
        forms = [predicate_forms(predicate, table) for predicate, table in drawn]
        found = self.road([(together(of_one), FORMS_SCHEMA) for of_one in forms])
        for of_one, answer in zip(forms, found, strict=True):
            self.verdict.judged += len(of_one)
            right, _ = self.oracle.answer(for_oracle(of_one["where"]))
            if right is None:
                self.verdict.without_oracle += len(of_one)
            counts = {n for _, n in answer.rows or []}
            if len(counts) != 1 or (right and not right.error and counts != {right.rows[0][0]}):
                self._one_by_one(of_one, right, answer)

    def _one_by_one(self, forms: dict[str, str], right: Answer | None, whole: Answer) -> None:
        """The forms that are wrong are one difference, shown by the first of them. `whole` may be too long to be answered."""
        asked = list(self.road([(sql, COUNT_SCHEMA) for sql in forms.values()]))
        said = {name: one.error or one.rows[0][0] for name, one in zip(forms, asked, strict=True)}
        if right and right.error:
            expected = f"an error: {first_line(right.error)}"
            odd = [name for name, one in zip(forms, asked, strict=True) if not one.error]
        else:
            expected = right.rows[0][0] if right else said["where"]
            odd = [name for name in forms if said[name] != expected]
        if odd:
            how = f"{str(said[odd[0]])[:ERROR_MAX]}, not {expected}; so in {len(odd)} of {len(forms)} forms"
            self.verdict.add(Difference(forms[odd[0]], how, ", ".join(odd)))
        elif not (right and right.error) and "over the limit" not in whole.error:
            self.verdict.add(Difference(together(forms), "each form alone is right, all in one statement are not", "union"))


def together(forms: dict[str, str]) -> str:
    return " UNION ALL ".join(f"SELECT '{name}' AS form, CAST(({sql}) AS BIGINT) AS n" for name, sql in forms.items())
