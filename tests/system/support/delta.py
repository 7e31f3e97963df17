"""Delta tables as other readers see them: the Python package `deltalake` and pyarrow, over `hdfs://` and `file://`."""

import json
import queue
import threading
from io import BytesIO

import pyarrow
import pyarrow.parquet
from deltalake import DeltaTable

from support.places import Place, Stored


# The HDFS client of the package has no time limits, and sometimes waits for ever: after this time the call is repeated
# with a new client.
CALL_S = 60
# Additional time for each file of a table.
FILE_S = 0.05
CALLS = 3


def within_limits(call, call_s=CALL_S):
    """Returns the result of `call`, or raises its exception."""
    for _ in range(CALLS):
        answers = queue.SimpleQueue()

        def answer(answers=answers):
            try:
                answers.put((call(), None))
            except Exception as error:  # handed on to the caller
                answers.put((None, error))

        threading.Thread(target=answer, daemon=True).start()
        try:
            value, error = answers.get(timeout=call_s)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return value
    raise TimeoutError(f"deltalake gave no answer {CALLS} times within {call_s} s")


def table(place: Place, name: str) -> DeltaTable:
    return within_limits(lambda: DeltaTable(f"{place.lake_url}/{name}"))


def rows(place: Place, name: str, columns: list[str] | None = None) -> list[dict]:
    """The rows at the newest version; instants come as datetimes in UTC."""
    opened = table(place, name)
    call_s = CALL_S + FILE_S * len(opened.file_uris())
    return within_limits(lambda: opened.to_pyarrow_table(columns=columns), call_s).to_pylist()


def count(place: Place, name: str) -> int:
    """The number of rows, by the statistics in the log: cheap, and independent of isobar."""
    return sum(table(place, name).get_add_actions(flatten=True).column("num_records").to_pylist())


def version(place: Place, name: str) -> int:
    return table(place, name).version()


def versions_seen(place: Place, name: str) -> int:
    """The number of commits in the log, by its file names: cheap enough for polling."""
    return len(_versions(place, name))


def live_files(place: Place, name: str) -> set[str]:
    """The data files of the newest version, by their path below the place."""
    return {f"lake/{name}/{uri.split(f'/{name}/', 1)[1]}" for uri in table(place, name).file_uris()}


def data_files(place: Place, name: str) -> list[Stored]:
    """All files in the directory of the table outside its log: live, orphan and temporary ones."""
    return [stored for stored in place.walk(f"lake/{name}") if "/_delta_log/" not in stored.path]


def actions(place: Place, name: str, of_version: int) -> list[dict]:
    """The actions of one commit."""
    text = place.read(f"lake/{name}/_delta_log/{of_version:020d}.json")
    return [json.loads(line) for line in text.splitlines()]


def all_actions(place: Place, name: str) -> list[dict]:
    """The actions of the JSON entries of the log, oldest first."""
    return [action for version in _versions(place, name) for action in actions(place, name, version)]


def _versions(place: Place, name: str) -> list[int]:
    names = place.names(f"lake/{name}/_delta_log")
    return sorted(int(name.removesuffix(".json")) for name in names if name.endswith(".json") and name[0].isdigit())


def read_parquet(place: Place, path: str) -> pyarrow.Table:
    """One data file, without the log."""
    return pyarrow.parquet.ParquetFile(BytesIO(place.read(path))).read()
