"""The roads by which a statement comes to Isobar and its rows come back: the shell, Flight SQL, and runs of query files."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import deltalake
import pyarrow as pa

from support import answers
from support.binary import Isobar
from support.flight import Server

# Statements that one process of the shell is given: what a command line holds.
AT_ONCE = 60
END = "the end of statement"


@dataclass(frozen=True)
class Answer:
    """The rows, or what was said instead of them."""

    rows: list[answers.Row] | None = None
    error: str = ""
    is_published: bool = False


# A road takes statements, each with the types of its right answer, as the shell's text says no types.
Asked = tuple[str, pa.Schema | None]
Road = Callable[[list[Asked]], Iterator[Answer]]


@contextmanager
def flight(isobar: Isobar) -> Iterator[Road]:
    """ADBC against a server of its own."""
    with Server(isobar, ISOBAR__SERVE__QUERY_TIMEOUT="120s") as server, server.connect() as connection:

        def ask(asked: list[Asked]) -> Iterator[Answer]:
            for sql, schema in asked:
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(sql)
                        found = cursor.fetch_arrow_table()
                    yield Answer(answers.rows(answers.as_reals(found, schema) if schema else found))
                except Exception as error:  # whatever the driver raises is the answer
                    yield Answer(error=str(error))

        yield ask


@contextmanager
def shell(isobar: Isobar) -> Iterator[Road]:
    """`isobar sql`, many statements to a process; the first that fails is its last, and another goes on behind it."""

    def ask(asked: list[Asked]) -> Iterator[Answer]:
        left = asked
        while left:
            given = left[:AT_ONCE]
            commands = [part for at, (sql, _) in enumerate(given) for part in ("-c", sql, "-c", f"SELECT '{END} {at}' AS c0")]
            outcome = isobar.run("sql", "--format", "json", *commands)
            texts = re.split(rf'^\{{"c0":"{END} \d+"\}}\n', outcome.stdout, flags=re.MULTILINE)
            for (_, schema), text in zip(given, texts[:-1], strict=False):
                yield Answer(answers.printed(text, schema) if schema else [])
            done = len(texts) - 1
            if outcome.code:
                yield Answer(error=outcome.stderr.strip())
                done += 1
            left = left[done:]

    yield ask


@contextmanager
def runs(isobar: Isobar, directory: Path) -> Iterator[Road]:
    """A query file for each statement, whose output table is then read by deltalake."""
    queries = directory / "queries"
    queries.mkdir(parents=True, exist_ok=True)
    lake = Path(isobar.variables["ISOBAR__LAKE__URL"].removeprefix("file://"))
    runner = isobar.having(ISOBAR__QUERIES__PATH=str(queries))
    number = 0

    def ask(asked: list[Asked]) -> Iterator[Answer]:
        nonlocal number
        for sql, schema in asked:
            number += 1
            name = f"run_{number}"
            file = queries / f"{name}.sql"
            file.write_text(f'--! description = "A random statement."\n--! [output.table]\n--! name = "{name}"\n\n{sql}\n')
            outcome = runner.run("run", name)
            file.unlink()
            if outcome.code:
                yield Answer(error=outcome.stderr.strip())
            elif not (lake / name).exists():
                yield Answer([])
            else:
                found = deltalake.DeltaTable(lake / name).to_pyarrow_table()
                yield Answer(answers.rows(answers.as_reals(found, schema) if schema else found), is_published=True)

    yield ask
