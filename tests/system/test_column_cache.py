"""The cache of decoded columns: a statement has the same rows with and without it."""

from datetime import UTC, date, datetime, timedelta

import deltalake
import pyarrow
import pytest

from support import handmade
from support.flight import Server
from support.handmade import File

DAYS = [date(2026, 1, 1) + timedelta(days=number) for number in range(4)]
ROWS = 20_000
HITS, MISSES, BYTES = "isobar_column_cache_hits_total", "isobar_column_cache_misses_total", "isobar_column_cache_bytes"

# Statements by what they read: plain columns, partition columns only, expressions that the scan computes, filters that the
# scan evaluates row by row (with a text that is decoded late), limits, and no column at all.
STATEMENTS = [
    "SELECT dt, count(*) AS n, sum(id) AS ids, min(temp) AS least, max(temp) AS most FROM weather GROUP BY dt ORDER BY dt",
    "SELECT sum(id) AS ids, count(city) AS cities FROM weather WHERE dt = DATE '2026-01-02'",
    "SELECT city, count(*) AS n, count(temp) AS known FROM weather GROUP BY city ORDER BY city NULLS LAST",
    "SELECT id, temp * 2 + 1 AS twice, upper(city) AS city FROM weather WHERE id < 20 ORDER BY id",
    "SELECT id, city, value FROM weather WHERE id = 12345",
    "SELECT count(*) AS n, max(id) AS last FROM weather WHERE value LIKE '%17%' AND city IS NOT NULL",
    "SELECT id, dt, value FROM weather WHERE id % 7000 = 3 AND dt > DATE '2026-01-01' ORDER BY id",
    "SELECT count(*) AS n FROM (SELECT value FROM weather LIMIT 17)",
    "SELECT id, temp FROM weather ORDER BY temp DESC NULLS LAST, id LIMIT 5",
    "SELECT count(*) AS n FROM weather",
    "SELECT DISTINCT dt FROM weather ORDER BY dt",
    "SELECT a.id, b.city FROM weather a JOIN weather b ON a.id = b.id + 1 WHERE b.id < 5 ORDER BY a.id",
    "SELECT max(at) AS last, min(at) AS first FROM weather WHERE at >= TIMESTAMP '2026-01-01 05:00:00'",
]


def rows_of(first: int, count: int) -> pyarrow.Table:
    ids = range(first, first + count)
    noon = datetime(2026, 1, 1, tzinfo=UTC)
    return pyarrow.table(
        {
            "id": pyarrow.array(ids, pyarrow.int64()),
            "temp": pyarrow.array([None if at % 11 == 0 else at % 97 / 4 for at in ids], pyarrow.float64()),
            "city": pyarrow.array([None if at % 13 == 0 else f"City of number {at % 5}" for at in ids], pyarrow.string()),
            "at": pyarrow.array([noon + timedelta(seconds=at) for at in ids], pyarrow.timestamp("us", "UTC")),
            "value": pyarrow.array([f'{{"message": {at}, "padding": "{at * 7919:020}"}}' for at in ids], pyarrow.string()),
        }
    )


@pytest.fixture(scope="module")
def lake(lakes):
    lake = lakes.new("local")
    files = [File(rows_of(at * ROWS, ROWS), values={"dt": day.isoformat()}) for at, day in enumerate(DAYS)]
    handmade.write(lake.place, "weather", files, partition={"dt": "date"})
    return lake


def test_answers_are_the_same_with_any_cache(lake):
    def answers(cache: str) -> list[list[list[dict]]]:
        with Server(lake.isobar, ISOBAR__QUERY__COLUMN_CACHE=cache) as server:
            return [[server.rows(statement) for statement in STATEMENTS] for _ in range(3)]

    [expected, *again] = answers("0B")
    assert again == [expected, expected]
    assert sum(len(rows) for rows in expected) > 50
    # All columns fit, some of them do, one of them does not.
    for cache in ("64MiB", "4MiB", "64KiB"):
        for found in answers(cache):
            for statement, rows, right in zip(STATEMENTS, found, expected, strict=True):
                assert rows == right, f"{cache}: {statement}"


def test_second_statement_fills_the_cache_and_the_third_reads_it(lake):
    statement = "SELECT sum(id) AS ids, max(temp) AS most FROM weather"
    with Server(lake.isobar, ISOBAR__QUERY__COLUMN_CACHE="64MiB") as server:
        first = server.rows(statement)
        assert server.metric(BYTES) == 0 and server.metric(MISSES) > 0
        assert server.rows(statement) == first
        held = server.metric(BYTES)
        assert held >= 2 * 8 * ROWS * len(DAYS)
        hits, misses = (server.metric(name) for name in (HITS, MISSES))
        assert server.rows(statement) == first
        assert server.metric(HITS) >= hits + len(DAYS) and server.metric(MISSES) == misses
        assert server.metric(BYTES) == held


def test_cache_holds_no_more_than_its_limit(lake):
    with Server(lake.isobar, ISOBAR__QUERY__COLUMN_CACHE="8MiB") as server:
        for _ in range(3):
            server.rows("SELECT count(value) AS texts, sum(id) AS ids, max(temp) AS most, max(at) AS last FROM weather")
        assert 0 < server.metric(BYTES) <= 8 << 20


def test_new_files_and_gained_columns_are_seen_beside_cached_ones(lakes):
    lake = lakes.new("local")
    old = pyarrow.table({"id": pyarrow.array([1, 2], pyarrow.int64())})
    new = pyarrow.table({"id": pyarrow.array([3], pyarrow.int64()), "city": pyarrow.array(["Paris"], pyarrow.string())})
    statement = "SELECT sum(id) AS ids, count(*) AS n FROM gaining"
    with Server(lake.isobar) as server:
        handmade.write(lake.place, "gaining", [File(old)])
        for _ in range(3):
            assert server.rows(statement) == [{"ids": 3, "n": 2}]
        assert server.metric(HITS) > 0
    fields = [handmade.field_of("id", pyarrow.int64()), handmade.field_of("city", pyarrow.string())]
    handmade.write(lake.place, "gained", [File(old), File(new)], fields=fields)
    with Server(lake.isobar) as server:
        for _ in range(3):
            found = server.rows("SELECT id, city FROM gained ORDER BY id")
            assert found == [{"id": 1, "city": None}, {"id": 2, "city": None}, {"id": 3, "city": "Paris"}]


def test_new_version_is_read_while_older_files_are_cached(lakes):
    lake = lakes.new("local")
    path = f"{lake.place.lake_url}/growing".removeprefix("file://")
    statement = "SELECT sum(id) AS ids, max(value) AS last FROM growing"
    with Server(lake.isobar) as server:
        for number in range(4):
            deltalake.write_deltalake(path, rows_of(number * 10, 10), mode="append")
            last = (number + 1) * 10
            for _ in range(3):
                [row] = server.rows(statement)
                assert row["ids"] == sum(range(last))
        assert server.metric(HITS) > 0


def test_reordered_columns_are_read_by_their_names(lakes):
    """Other writers reorder columns in the metadata only; the files do not change."""
    lake = lakes.new("local")
    rows = pyarrow.table({"a": pyarrow.array([1, 2], pyarrow.int64()), "b": pyarrow.array([10, 20], pyarrow.int64())})
    handmade.write(lake.place, "moving", [File(rows)])
    with Server(lake.isobar) as server:
        for _ in range(3):
            assert server.rows("SELECT sum(a) AS a FROM moving") == [{"a": 3}]
        fields = [handmade.field_of(column, pyarrow.int64()) for column in "bca"]
        handmade.commit(lake.place, "moving", 2, [{"metaData": handmade.metadata_of("moving", fields, [])}])
        for _ in range(3):
            found = server.rows("SELECT sum(b) AS b, count(c) AS c, sum(a) AS a FROM moving")
            assert found == [{"b": 30, "c": 0, "a": 3}]


def test_scan_with_a_limit_reads_no_columns_into_the_cache(lake):
    with Server(lake.isobar) as server:
        for _ in range(3):
            assert len(server.rows("SELECT id, value FROM weather LIMIT 5")) == 5
        assert server.metric(BYTES) == 0
