"""Statistics answer what they prove and no more: each table is compared with a twin without statistics in its log.

The oracle is plain Python over the rows; NaN is larger than every number, as in PostgreSQL and DuckDB.
"""

import dataclasses
import math
from datetime import UTC, date, datetime

import pyarrow
import pytest

from support import delta, handmade
from support.handmade import File, field_of
from support.weather_data import CITIES, build

NAN = math.nan


def said(rows: int, least: dict, most: dict, nulls: dict, **more) -> dict:
    return {"numRecords": rows, "minValues": least, "maxValues": most, "nullCount": nulls} | more


def doubles(*values, kind=pyarrow.float64()) -> pyarrow.Table:
    return pyarrow.table({"id": pyarrow.array(range(len(values)), pyarrow.int64()), "x": pyarrow.array(values, kind)})


def texts(*values) -> pyarrow.Table:
    return pyarrow.table({"s": pyarrow.array(values, pyarrow.string())})


def ask(lake, statement: str) -> list[list]:
    return [list(row.values()) for row in lake.isobar.query(statement)]


def must_agree(lake, name: str, files: list[File], statements: dict[str, list[list]], **more) -> None:
    """Asserts that the table and its twin without statistics have the expected rows."""
    handmade.write(lake.place, name, files, **more)
    handmade.write(lake.place, f"{name}_twin", [dataclasses.replace(file, statistics=None) for file in files], **more)
    for statement, expected in statements.items():
        assert ask(lake, statement.format(t=f"{name}_twin")) == expected, f"twin: {statement}"
        assert ask(lake, statement.format(t=name)) == expected, statement


@pytest.mark.parametrize("kind", [pyarrow.float64(), pyarrow.float32()], ids=str)
def test_nan_beside_one_number_is_not_read_as_that_number(lakes, kind):
    files = [
        File(doubles(1.0, NAN, kind=kind), said(2, {"id": 0, "x": 1.0}, {"id": 1, "x": 1.0}, {"id": 0, "x": 0})),
        File(doubles(5.0, kind=kind), said(1, {"id": 0, "x": 5.0}, {"id": 0, "x": 5.0}, {"id": 0, "x": 0})),
    ]
    must_agree(
        lakes.new("local"),
        "blind",
        files,
        {
            "SELECT CAST(x AS VARCHAR) AS v FROM {t} ORDER BY x": [["1.0"], ["5.0"], ["NaN"]],
            "SELECT count(*) FROM {t} WHERE x > 100": [[1]],
            "SELECT count(*) FROM {t} WHERE x >= 100 AND id = 1": [[1]],
            "SELECT count(*) FROM {t} WHERE x = 'NaN'": [[1]],
            "SELECT count(*) FROM {t} WHERE NOT (x <= 100)": [[1]],
            "SELECT count(*) FROM {t} WHERE x BETWEEN 2 AND 'NaN'": [[2]],
            "SELECT CAST(x AS VARCHAR) AS v FROM {t} ORDER BY x DESC LIMIT 1": [["NaN"]],
            "SELECT count(*) FROM {t} WHERE x = 1.0": [[1]],
        },
    )


def test_zeros_of_either_sign_are_found(lakes):
    files = [File(doubles(-0.0, 0.0), said(2, {"x": 0.0}, {"x": 0.0}, {"x": 0})), File(doubles(-0.0))]
    must_agree(
        lakes.new("local"),
        "zeros",
        files,
        {"SELECT count(*) FROM {t} WHERE x = 0.0": [[3]], "SELECT count(*) FROM {t} WHERE x = -0.0": [[3]]},
    )


def test_truncated_bounds_prune_but_do_not_answer(lakes):
    """Writers truncate by characters or bytes, at 8, 31, 32 or 64, and append a character that no row has."""
    long, emoji = "漢" * 25, "abcdefgh\U0001f600"
    files = [
        File(texts(long + "甲", long + "乙"), said(2, {"s": "漢" * 21}, {"s": "漢" * 20 + "漣"}, {"s": 0})),
        File(texts(emoji), said(1, {"s": "abcdefgh"}, {"s": "abcdefgh\uffff"}, {"s": 0})),
        File(texts("abcdefghz"), said(1, {"s": "abcdefgh"}, {"s": "abcdefgh\ufffd"}, {"s": 0})),
        File(texts("same"), said(1, {"s": "same"}, {"s": "same"}, {"s": 0})),
    ]
    must_agree(
        lakes.new("local"),
        "shortened",
        files,
        {
            "SELECT min(s), max(s) FROM {t}": [["abcdefghz", long + "甲"]],
            f"SELECT count(*) FROM {{t}} WHERE s = '{long}乙'": [[1]],
            f"SELECT count(*) FROM {{t}} WHERE s = '{emoji}'": [[1]],
            "SELECT count(*) FROM {t} WHERE s > 'abcdefgh\uffff'": [[4]],
            "SELECT count(*) FROM {t} WHERE s LIKE 'abcdefgh%'": [[2]],
            "SELECT count(*) FROM {t} WHERE s NOT LIKE 'abcdefgh%'": [[3]],
            "SELECT count(*) FROM {t} WHERE s <> 'same'": [[4]],
        },
    )


def test_bounds_that_are_not_tight_do_not_answer(lakes):
    rows = pyarrow.table({"id": pyarrow.array([1, 2, None], pyarrow.int64())})
    files = [File(rows, said(3, {"id": 0}, {"id": 9}, {"id": 2}, tightBounds=False))]
    must_agree(
        lakes.new("local"),
        "wide",
        files,
        {
            "SELECT min(id), max(id), count(id), count(*) FROM {t}": [[1, 2, 2, 3]],
            "SELECT count(*) FROM {t} WHERE id IS NULL": [[1]],
            "SELECT count(*) FROM {t} WHERE id = 9": [[0]],
        },
    )


def test_widened_type_and_struct_columns_are_read(lakes):
    inner = pyarrow.struct([("a", pyarrow.int64()), ("b", pyarrow.string())])
    rows = pyarrow.table(
        {
            "n": pyarrow.array([1, 2], pyarrow.int32()),
            "r": pyarrow.array([{"a": 7, "b": "x"}, None], inner),
        }
    )
    changes = {"delta.typeChanges": [{"fromType": "integer", "toType": "long"}]}
    struct = {
        "type": "struct",
        "fields": [field_of("a", pyarrow.int64()), field_of("b", pyarrow.string())],
    }
    fields = [field_of("n", "long", changes), field_of("r", "long") | {"type": struct}]
    least, most = {"n": 1, "r": {"a": 7, "b": "x"}}, {"n": 2, "r": {"a": 7, "b": "x"}}
    must_agree(
        lakes.new("local"),
        "widened",
        [File(rows, said(2, least, most, {"n": 0, "r": {"a": 1, "b": 1}}))],
        {
            "SELECT min(n), max(n), count(r) FROM {t}": [[1, 2, 1]],
            "SELECT count(*) FROM {t} WHERE r IS NULL": [[1]],
            "SELECT n FROM {t} WHERE r['a'] = 7": [[1]],
            "SELECT n FROM {t} WHERE n > 3000000000": [],
        },
        fields=fields,
    )


def test_truncated_instants_keep_their_last_rows(lakes):
    at = [datetime(2026, 1, 15, 10, 0, 0, 123_456, UTC), datetime(2026, 1, 15, 10, 0, 0, 123_999, UTC)]
    rows = pyarrow.table({"at": pyarrow.array(at, pyarrow.timestamp("us", "UTC"))})
    cut, seconds = "2026-01-15T10:00:00.123Z", "2026-01-15T10:00:00Z"
    files = [File(rows, said(2, {"at": end}, {"at": end}, {"at": 0})) for end in (cut, seconds)]
    must_agree(
        lakes.new("local"),
        "cut",
        files,
        {
            "SELECT count(DISTINCT at) FROM {t}": [[2]],
            "SELECT count(*) FROM {t} WHERE at > '2026-01-15T10:00:00.123900Z'": [[2]],
            "SELECT count(*) FROM {t} WHERE at < '2026-01-15T10:00:00.123500Z'": [[2]],
        },
    )


def test_surrogate_escapes_are_decoded(lakes):
    """json.dumps writes U+20BB7 as \\ud842\\udfb7: once in the log's line, twice inside the statistics."""
    lake = lakes.new("local")
    houses = [File(texts(value), said(1, {"s": value}, {"s": value}, {"s": 0}), {"p": value}) for value in ("𠮷", "😀")]
    must_agree(
        lake,
        "escaped",
        houses,
        {
            "SELECT p, s FROM {t} ORDER BY p": [["😀", "😀"], ["𠮷", "𠮷"]],
            "SELECT count(*) FROM {t} WHERE s = '𠮷'": [[1]],
            "SELECT count(*) FROM {t} WHERE p = '𠮷'": [[1]],
            "SELECT count(*) FROM {t} WHERE p = '😀'": [[1]],
        },
        partition={"p": "string"},
    )


def test_empty_partition_values_are_null(lakes):
    days = [File(texts("a"), None, {"d": ""}), File(texts("b"), None, {"d": None}), File(texts("c"), None, {"d": "2026-01-15"})]
    must_agree(
        lakes.new("local"),
        "by_day",
        days,
        {
            "SELECT s FROM {t} WHERE d IS NULL ORDER BY s": [["a"], ["b"]],
            "SELECT count(d), count(*) FROM {t}": [[1, 3]],
            "SELECT s FROM {t} WHERE d = DATE '2026-01-15'": [["c"]],
        },
        partition={"d": "date"},
    )
    named = [File(texts(value), None, {"p": value}) for value in ("", "x")]
    must_agree(
        lakes.new("local"),
        "by_text",
        named,
        {"SELECT s FROM {t} WHERE p IS NULL": [[""]], "SELECT s FROM {t} WHERE p = ''": []},
        partition={"p": "string"},
    )


def test_statement_proved_by_the_log_reads_no_data_file(lakes):
    """Exact statistics answer without the data files, which are deleted here."""
    lake = lakes.new("local")
    at = datetime(2026, 1, 15, 10, 0, 0, 123_456, UTC)
    rows = pyarrow.table(
        {
            "n": pyarrow.array([3, 9, None], pyarrow.int64()),
            "d": pyarrow.array([date(2026, 1, 15)] * 3, pyarrow.date32()),
            "at": pyarrow.array([at] * 3, pyarrow.timestamp("us", "UTC")),
        }
    )
    least = {"n": 3, "d": "2026-01-15", "at": "2026-01-15T10:00:00.123456Z"}
    statistics = said(3, least, least | {"n": 9}, {"n": 1, "d": 0, "at": 0})
    handmade.write(lake.place, "proven", [File(rows, statistics, {"dt": "2026-01-15"})], partition={"dt": "date"})
    (lake.place.root / "lake/proven/part-1.parquet").unlink()
    found = ask(lake, "SELECT count(*), count(n), min(n), max(n), min(d), max(dt), max(at) FROM proven")
    assert found == [[3, 2, 3, 9, "2026-01-15", "2026-01-15", "2026-01-15T10:00:00.123456Z"]]
    assert ask(lake, "SELECT count(*) FROM proven WHERE dt = DATE '2026-01-15'") == [[3]]
    assert ask(lake, "SELECT count(*) FROM proven WHERE n > 9 OR dt > DATE '2026-01-15'") == [[0]]


def test_floats_of_own_files_still_prune(lakes):
    """Our writer checks for NaN and records that; files of other writers are read."""
    lake = lakes.landed("local")
    plan = lake.isobar.ok("sql", "-c", "EXPLAIN SELECT count(*) FROM weather WHERE temp > 20.5").stdout
    assert "pruning_predicate=temp" in plan, plan
    nothing = lake.isobar.ok("sql", "-c", "EXPLAIN SELECT count(*) FROM weather WHERE temp > 1000").stdout
    assert "DataSourceExec" not in nothing, nothing


def test_floats_of_own_files_still_prune_behind_a_checkpoint_of_another_writer(lakes):
    lake = lakes.new("local")
    lake.put(build([date(2026, 1, 15)], CITIES[:2], forecasts=1).files)
    lake.land()
    table = delta.table(lake.place, "weather")
    table.create_checkpoint()
    for stored in lake.place.walk("lake/weather/_delta_log"):
        if stored.path.endswith(".json"):
            (lake.place.root / stored.path).unlink()
    nothing = lake.isobar.ok("sql", "-c", "EXPLAIN SELECT count(*) FROM weather WHERE temp > 1000").stdout
    assert "DataSourceExec" not in nothing, nothing
