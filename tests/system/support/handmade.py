"""Delta tables written by hand: data files by pyarrow, the log by json, so that it can hold what available writers do not write."""

import io
import json
from dataclasses import dataclass, field

import pyarrow
import pyarrow.parquet

from support.places import LocalPlace

TYPES = {
    pyarrow.int32(): "integer",
    pyarrow.int64(): "long",
    pyarrow.float32(): "float",
    pyarrow.float64(): "double",
    pyarrow.string(): "string",
    pyarrow.date32(): "date",
    pyarrow.timestamp("us", "UTC"): "timestamp",
}


@dataclass
class File:
    """A data file and its statistics in the log. `statistics` may be a text, to avoid the formatting of json."""

    rows: pyarrow.Table
    statistics: dict | str | None = None
    values: dict[str, str | None] = field(default_factory=dict)
    path: str | None = None
    # Instants as INT96, as Spark stores them by default.
    int96: bool = False


def field_of(name: str, kind: pyarrow.DataType | str, metadata: dict | None = None) -> dict:
    kind = kind if isinstance(kind, str) else TYPES[kind]
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata or {}}


def write(
    place: LocalPlace,
    name: str,
    files: list[File],
    *,
    partition: dict[str, str] | None = None,
    fields: list[dict] | None = None,
    protocol: dict | None = None,
    configuration: dict[str, str] | None = None,
) -> None:
    """Writes a table of these files, with one commit for each. `partition` has the types of its columns."""
    partition = partition or {}
    if fields is None:
        columns = [*partition.items(), *((of.name, of.type) for of in files[0].rows.schema)]
        fields = [field_of(column, kind) for column, kind in columns]
    metadata = metadata_of(name, fields, list(partition), configuration)
    protocol = protocol or {"minReaderVersion": 1, "minWriterVersion": 2}
    commit(place, name, 0, [{"protocol": protocol}, {"metaData": metadata}])
    for number, file in enumerate(files, start=1):
        commit(place, name, number, [add(place, name, f"part-{number}.parquet", file)])


def metadata_of(
    name: str, fields: list[dict], partitioned_by: list[str], configuration: dict[str, str] | None = None
) -> dict:
    return {
        "id": name,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": partitioned_by,
        "configuration": configuration or {},
        "createdTime": 1,
    }


def add(place: LocalPlace, name: str, path: str, file: File) -> dict:
    """Stores the file, and returns its add action."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(file.rows, buffer, use_deprecated_int96_timestamps=file.int96)
    place.write(f"lake/{name}/{path}", buffer.getvalue())
    action = {
        "path": file.path or path,
        "partitionValues": file.values,
        "size": len(buffer.getvalue()),
        "modificationTime": 1,
        "dataChange": True,
    }
    if file.statistics is not None:
        as_text = file.statistics if isinstance(file.statistics, str) else json.dumps(file.statistics)
        action["stats"] = as_text
    return {"add": action}


def commit(place: LocalPlace, name: str, version: int, actions: list[dict | str]) -> None:
    lines = [action if isinstance(action, str) else json.dumps(action) for action in actions]
    place.write(f"lake/{name}/_delta_log/{version:020}.json", "".join(line + "\n" for line in lines).encode())
