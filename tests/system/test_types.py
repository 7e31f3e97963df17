"""Values keep their type and their name for every client: Flight SQL, the shell in three formats, and query files.

The expected values are those of DuckDB and PostgreSQL, by hand."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import adbc_driver_manager
import deltalake
import pyarrow
import pytest

from support.binary import Isobar, parse_csv
from support.flight import Server, ask, statement


TABLE = "t"
ROWS = pyarrow.table(
    {
        "id": pyarrow.array([1, 2], pyarrow.int64()),
        "t": pyarrow.array([7, 8], pyarrow.int8()),
        "moment": pyarrow.array([datetime(2026, 1, 15, 12, tzinfo=UTC)] * 2, pyarrow.timestamp("us", "UTC")),
    }
)


@pytest.fixture(scope="module")
def lake(lakes):
    """A lake with a small table of another writer."""
    lake = lakes.new("local")
    deltalake.write_deltalake(f"{lake.place.lake_url}/{TABLE}", ROWS)
    return lake


@pytest.fixture(scope="module")
def shell(lake) -> Isobar:
    return lake.isobar


@pytest.fixture(scope="module")
def server(shell) -> Iterator[Server]:
    with Server(shell) as server:
        yield server


CASE = "CASE WHEN id = 1 THEN 1 ELSE 0.5 END"
MIXED = {
    "union": ("SELECT 1 AS c UNION ALL SELECT 2.5 ORDER BY c", [1, 2.5]),
    "case": (f"SELECT {CASE} AS c FROM t ORDER BY id", [1, 0.5]),
    "sum of a case": (f"SELECT sum({CASE}) AS c FROM t WHERE id < 3", [1.5]),
    "case beyond a small integer": ("SELECT CASE WHEN id = 1 THEN t ELSE 999 END AS c FROM t ORDER BY id", [7, 999]),
    "case of a day and an instant": (
        "SELECT CASE WHEN id = 1 THEN DATE '2020-01-01' ELSE TIMESTAMP '2020-01-01 12:34:56' END AS c FROM t ORDER BY id",
        [datetime(2020, 1, 1), datetime(2020, 1, 1, 12, 34, 56)],
    ),
    "case of a number and a text": ("SELECT CASE WHEN id = 1 THEN id ELSE 'x' END AS c FROM t ORDER BY id", ["1", "x"]),
    "coalesce": ("SELECT coalesce(nullif(id, 2), 2.5) AS c FROM t ORDER BY id", [1, 2.5]),
    "values": ("SELECT c FROM (VALUES (1), (2.5)) AS v(c) ORDER BY c", [1, 2.5]),
    "union under a new name": ("SELECT d AS c FROM (SELECT 1 AS d UNION ALL SELECT 2.5) ORDER BY c", [1, 2.5]),
    "case in a common table": (f"WITH q AS (SELECT id, {CASE} AS d FROM t) SELECT d AS c FROM q ORDER BY id", [1, 0.5]),
    "list": (f"SELECT make_array({CASE}) AS c FROM t ORDER BY id", [[1], [0.5]]),
    "recursion to a wider integer": (
        "WITH RECURSIVE r AS (SELECT CAST(1 AS INT) AS c UNION ALL SELECT c + 1 FROM r WHERE c < 3) SELECT c FROM r",
        [1, 2, 3],
    ),
    "recursion of whole numbers in DOUBLE": (
        "WITH RECURSIVE r AS (SELECT CAST(1 AS DOUBLE) AS c UNION ALL SELECT c + 0.5 FROM r WHERE c < 2) SELECT c FROM r",
        [1, 1.5, 2],
    ),
}


def plain(value):
    """Normalizes a value: some clients do not distinguish days from instants, or decimals from doubles."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize(("text", "expected"), MIXED.values(), ids=MIXED)
def test_branches_of_several_types_keep_their_values_over_flight(server, text, expected):
    """Before analysis a plan has the type of the first branch, to which rows were once cast."""
    with server.client() as client:
        info = client.get_flight_info(statement(text))
        rows = client.do_get(info.endpoints[0].ticket).read_all()
        announced = client.get_schema(statement(text)).schema
    assert info.schema.equals(rows.schema, check_metadata=True)
    assert announced.equals(rows.schema, check_metadata=True)
    assert [plain(value) for value in rows["c"].to_pylist()] == expected
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.adbc_prepare(text)
        cursor.execute(text)
        prepared = cursor.fetch_arrow_table()
    assert prepared.schema.equals(rows.schema) and prepared.equals(rows)


@pytest.mark.parametrize(("text", "expected"), MIXED.values(), ids=MIXED)
def test_branches_of_several_types_keep_their_values_in_the_shell(shell, text, expected):
    found = [row["c"] for row in shell.query(text)]
    expected = [value.isoformat() if isinstance(value, datetime) else value for value in expected]
    found = [value.removesuffix("Z") if isinstance(value, str) else value for value in found]
    assert found == expected


CHANGING = {
    "to a double": "SELECT 1 AS n UNION ALL SELECT n + 0.5 FROM r WHERE n < 3",
    "to a double, by a case": "SELECT 1 AS n UNION ALL SELECT CASE WHEN n < 2 THEN n + 1 ELSE n + 0.5 END FROM r WHERE n < 3",
    "to an instant": "SELECT DATE '2026-01-01' AS n UNION ALL SELECT CAST(n AS TIMESTAMP) + INTERVAL '36 hours' FROM r WHERE n < DATE '2026-01-03'",
    "to a text": "SELECT 1 AS n UNION SELECT n || 'x' FROM r WHERE n IS NOT NULL",
}


@pytest.mark.parametrize("body", CHANGING.values(), ids=CHANGING)
def test_recursion_that_changes_its_type_is_refused(shell, server, body):
    """1.5 would become 1 again, for ever."""
    text = f"WITH RECURSIVE r AS ({body}) SELECT n FROM r LIMIT 100"
    shell.refused("sql", "-c", text, code=1, says=["recursive query", "n", "CAST"])
    with pytest.raises(adbc_driver_manager.Error, match="(?s)INVALID_ARGUMENT.*recursive query"):
        server.rows(text)


NESTED = {
    "list of views": ("make_array(arrow_cast('a', 'Utf8View'))", "list<item: string>", ["a"]),
    "struct of a dictionary": ("named_struct('x', arrow_cast('a', 'Dictionary(Int32, Utf8)'))", "struct<x: string>", {"x": "a"}),
    "list of structs of views": (
        "make_array(named_struct('x', arrow_cast('a', 'Utf8View')))",
        "list<item: struct<x: string>>",
        [{"x": "a"}],
    ),
    "small decimal": ("arrow_cast(1.5, 'Decimal64(5, 2)')", "decimal128(5, 2)", Decimal("1.50")),
}


@pytest.mark.parametrize(
    ("value", "data_type", "expected"),
    NESTED.values(),
    ids=NESTED,
)
def test_other_encodings_are_sent_as_plain_types(server, value, data_type, expected):
    with server.client() as client:
        found = ask(client, statement(f"SELECT {value} AS c"))
    assert str(found.schema.field("c").type) == data_type
    assert found["c"].to_pylist() == [expected]


def union(value) -> pyarrow.Array:
    """`value` as a member of a dense union, as flightsql-dbapi binds every value."""
    types = [pyarrow.int64(), pyarrow.float64(), pyarrow.string(), pyarrow.bool_()]
    kinds = [int, float, str, bool]
    chosen = kinds.index(type(value))
    members = [pyarrow.array([value] if at == chosen else [], kind) for at, kind in enumerate(types)]
    return pyarrow.UnionArray.from_dense(
        pyarrow.array([chosen], pyarrow.int8()), pyarrow.array([0], pyarrow.int32()), members, ["i", "f", "s", "b"]
    )


def test_bound_unions_and_dictionaries_are_their_values(server):
    def count(condition: str, value: pyarrow.Array) -> int:
        [row] = server.rows(f"SELECT count(*) AS n FROM t WHERE {condition}", pyarrow.record_batch([value], ["1"]))
        return row["n"]

    assert count("id > ?", union(1)) == 1
    assert count("id <= ?", union(1.0)) == 1
    assert count("(id > 1) = ?", union(True)) == 1
    assert count("moment = ?", union("2026-01-15T12:00:00Z")) == 2
    assert count("CAST(id AS TEXT) = ?", union("2")) == 1
    assert count("CAST(id AS TEXT) = ?", pyarrow.array(["2"]).dictionary_encode()) == 1
    assert count("CAST(id AS TEXT) = ?", pyarrow.RunEndEncodedArray.from_arrays([1], ["2"])) == 1
    assert count("CAST(id AS TEXT) = ?", pyarrow.array(["2"], pyarrow.string_view())) == 1
    assert server.rows("SELECT ? + 1 AS a", pyarrow.record_batch([union(1)], ["1"])) == [{"a": 2}]
    assert len(server.rows("SELECT id FROM t LIMIT ?", pyarrow.record_batch([union(1)], ["1"]))) == 1


PRINTED = {
    "not a number": ("'NaN'::double", "NaN", "NaN"),
    "infinity": ("'Infinity'::double", "Infinity", "Infinity"),
    "minus infinity": ("'-Infinity'::real", "-Infinity", "-Infinity"),
    "a number in a list": ("make_array('NaN'::double, 1.0)", ["NaN", 1.0], '["NaN",1.0]'),
    "the last day": ("DATE '9999-12-31'", "9999-12-31", "9999-12-31"),
    "bytes": ("X'00ff'", "00ff", "00ff"),
    "decimal": ("CAST('12345678901234567890.12' AS DECIMAL(38, 2))", Decimal("12345678901234567890.12"), "12345678901234567890.12"),
    "object": ("named_struct('a', 1, 'b', 'x')", {"a": 1, "b": "x"}, '{"a":1,"b":"x"}'),
    "map of numbers": ("map([1], ['x'])", {"1": "x"}, '{"1":"x"}'),
    "duration": ("arrow_cast(90, 'Duration(Second)')", "PT90S", "PT90S"),
    "time": ("TIME '10:00:00'", "10:00:00", "10:00:00"),
}


@pytest.mark.parametrize(("value", "in_json", "in_csv"), PRINTED.values(), ids=PRINTED)
def test_json_output_is_valid_and_exact(shell, value, in_json, in_csv):
    text = f"SELECT {value} AS c"
    [line] = shell.ok("sql", "--format", "json", "-c", text).stdout.splitlines()
    parsed = json.loads(line, parse_float=Decimal if isinstance(in_json, Decimal) else float, parse_constant=pytest.fail)
    assert parsed == {"c": in_json}
    assert parse_csv(shell.ok("sql", "--format", "csv", "-c", text).stdout) == [{"c": in_csv}]
    assert in_csv in shell.ok("sql", "-c", text).stdout


UNPRINTABLE = {
    "a day beyond the calendar": "arrow_cast(2147483647, 'Date32')",
    "an instant beyond the calendar": "arrow_cast(9223372036854775807, 'Timestamp(Microsecond, Some(\"UTC\"))')",
    "a duration beyond the calendar": "arrow_cast(9223372036854775807, 'Duration(Second)')",
    "a day within a list": "make_array(arrow_cast(2147483647, 'Date32'))",
}


@pytest.mark.parametrize("form", ["json", "csv", "table"])
@pytest.mark.parametrize("value", UNPRINTABLE.values(), ids=UNPRINTABLE)
def test_unprintable_value_is_an_error(shell, value, form):
    """An error, and not the text "ERROR: …" within a result."""
    outcome = shell.refused("sql", "--format", form, "-c", f"SELECT {value} AS c", code=1, says=["c", "cannot be printed"])
    assert "ERROR" not in outcome.stdout and "invalid" not in outcome.stdout


def test_equal_names_are_numbered_in_json_only(shell, server):
    text = "SELECT l.id, r.id, 7 AS id_1 FROM t AS l JOIN t AS r ON l.id = r.id WHERE l.id = 2"
    with server.client() as client:
        found = ask(client, statement(text))
    assert found.schema.names == ["id", "id", "id_1"]
    assert [column.to_pylist() for column in found.columns] == [[2], [2], [7]]
    assert shell.ok("sql", "--format", "csv", "-c", text).stdout.split() == ["id,id,id_1", "2,2,7"]
    [header] = [line for line in shell.ok("sql", "-c", text).stdout.splitlines() if "id" in line]
    assert [name.strip() for name in header.strip("|").split("|")] == ["id", "id", "id_1"]
    [line] = shell.ok("sql", "--format", "json", "-c", text).stdout.splitlines()
    pairs = json.loads(line, object_pairs_hook=list)
    assert pairs == [("id", 2), ("id_2", 2), ("id_1", 7)]


QUERY = """--! description = "For a test."
--! [output.table]
--! name = "{table}"
{select}
"""


def test_query_file_with_two_columns_of_one_name_is_refused(shell, tmp_path):
    (tmp_path / "twice.sql").write_text(QUERY.format(table="twice", select="SELECT l.id, r.id FROM t AS l JOIN t AS r ON l.id = r.id"))
    queries = ["--set", f"queries.path={tmp_path}"]
    says = ["twice", "two columns called .*id", "AS"]
    shell.refused(*queries, "query", "check", code=1, says=says)
    shell.refused(*queries, "run", "twice", code=1, says=says)


def test_query_file_publishes_branches_of_several_types(lake, tmp_path):
    """The output had the type of the first branch, so that 0.5 was published as 0."""
    (tmp_path / "mixed.sql").write_text(QUERY.format(table="mixed", select=f"SELECT id, {CASE} AS c FROM t"))
    lake.isobar.ok("--set", f"queries.path={tmp_path}", "run", "mixed")
    rows = sorted((row["id"], plain(row["c"])) for row in lake.rows("mixed"))
    assert rows == [(1, 1.0), (2, 0.5)]


SLOW = "SELECT count(*) AS n FROM generate_series(1, 100000000000) WHERE value % 7 = 9"


def test_shell_and_runs_have_configured_time_limits(shell, tmp_path):
    limited = ["--set", "sql.timeout=1s"]
    shell.refused(*limited, "sql", "-c", SLOW, code=1, says=["not done within 1s", "sql.timeout"])
    assert shell.ok(*limited, "sql", "--format", "csv", "-c", "SELECT 1 AS a").stdout.split() == ["a", "1"]
    (tmp_path / "slow.sql").write_text(QUERY.format(table="slow", select=SLOW))
    limited = ["--set", f"queries.path={tmp_path}", "--set", "run.timeout=1s"]
    shell.refused(*limited, "run", "slow", code=1, says=["not done within 1s", "run.timeout"])
