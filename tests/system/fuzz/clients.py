"""The clients that run a statement and read its rows: the shell, Flight SQL, and runs of query files."""

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

# Statements for one process of the shell, bounded by the length of a command line.
AT_ONCE = 60
END = "the end of statement"


@dataclass(frozen=True)
class Answer:
    """The rows, or the error."""

    rows: list[answers.Row] | None = None
    error: str = ""
    is_published: bool = False


# A client takes statements, each with the types of its expected rows, since the text of the shell has no types.
Asked = tuple[str, pa.Schema | None]
Client = Callable[[list[Asked]], Iterator[Answer]]


@contextmanager
def flight(isobar: Isobar) -> Iterator[Client]:
    """ADBC, with its own server."""
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
def shell(isobar: Isobar) -> Iterator[Client]:
    """`isobar sql` with many statements for each process, which ends at the first failure; the next process continues behind it."""

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
def runs(isobar: Isobar, directory: Path) -> Iterator[Client]:
    """A query file for each statement, whose output table deltalake reads."""
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
