"""What every output of a query promises, whatever its kind: one suite, which a new kind of output joins by a reader below."""

import json
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import pytest

from support import delta
from support.hbase import connected
from support.lake import Lake
from support.weather_data import CITIES, build, day_range

DAYS = day_range(date(2026, 1, 15), 3)
# Columns of the query below, each with how a text of HBase becomes the value that the other outputs have.
COLUMNS: dict[str, Callable] = {
    "dt": str,
    "city_id": int,
    "city": str,
    "hot": float,
    "price": float,
    "wet": lambda text: text == "true",
    "last": str,
    "nothing": str,
}
SELECT = """SELECT dt, city_id, 'Zürich "x"' AS city, max(temp) AS hot, CAST(count(*) AS DECIMAL(9, 2)) AS price,
       max(temp) > 0 AS wet, max(event_time) AS last, CAST(NULL AS TEXT) AS nothing
FROM weather WHERE {condition} GROUP BY dt, city_id ORDER BY dt, city_id"""
TABLE = '--! [output.table]\n--! name = "daily"\n'
JSONL = '--! [output.jsonl]\n--! file = "daily.jsonl"\n'
HBASE = '--! [output.hbase]\n--! table = "@hbase.table"\n--! row_key = ["city_id", "dt"]\n'
OUTPUTS = {
    "a table": TABLE,
    "JSON Lines": JSONL,
    "JSON Lines beside a table": TABLE + JSONL,
    "HBase beside a table": TABLE + HBASE,
}
# Steps of a run between which it may be killed.
STEPS = ["data_file.begun", "data_file.stored", "log_entry.begun", "log_entry.stored"]


@dataclass
class Filled:
    """A lake with landed weather and one query, whose output is of one kind."""

    kind: str
    lake: Lake
    queries: object
    hbase: dict
    table: str

    def select(self, condition: str) -> None:
        header = '--! description = "a"\n--! params = { dt = "date" }\n--! partition = "dt"\n'
        text = header + OUTPUTS[self.kind] + SELECT.format(condition=condition)
        (self.queries / "daily.sql").write_text(text)

    def run(self, *arguments: str) -> None:
        self.lake.isobar.ok("run", "daily", *(arguments or ["--all"]))

    def rows(self) -> list[dict]:
        """The rows of the output, as their values are in JSON."""
        if self.kind == "a table":
            rows = self.lake.isobar.query("SELECT * FROM daily")
        elif self.kind == "HBase beside a table":
            rows = self.cells()
        else:
            rows = [row for day in DAYS for row in self.lines(day)]
        return sorted(rows, key=lambda row: (row["dt"], row["city_id"]))

    def lines(self, day: date) -> list[dict]:
        path = f"weather/dt={day}/daily.jsonl"
        content = self.lake.place.read(path) if path in self.files() else b""
        return [json.loads(line) for line in content.splitlines()]

    def files(self) -> dict[str, int]:
        """The files of JSON Lines, each with when it was written."""
        found = self.lake.place.walk("weather")
        return {stored.path: stored.modified_ms for stored in found if stored.path.endswith("daily.jsonl")}

    def cells(self) -> list[dict]:
        with connected(self.hbase) as connection:
            found = connection.table(self.table).scan() if self.table.encode() in connection.tables() else []
            rows = [{name.decode().removeprefix("agg:"): text.decode() for name, text in row.items()} for _, row in found]
        return [{name: convert(row[name]) if name in row else None for name, convert in COLUMNS.items()} for row in rows]

    def state(self) -> object:
        """Another one after the output was touched, with the same rows or not."""
        if self.kind == "a table":
            return delta.version(self.lake.place, "daily")
        if self.kind == "HBase beside a table":
            with connected(self.hbase) as connection:
                rows = connection.table(self.table).scan(include_timestamp=True)
                return {key: {name: time_ms for name, (_, time_ms) in cells.items()} for key, cells in rows}
        return self.files()

    def expected(self) -> list[dict]:
        """The rows that the query's SELECT has now for all days."""
        rows = self.lake.isobar.query(SELECT.format(condition="true"))
        return sorted(rows, key=lambda row: (row["dt"], row["city_id"]))

    def delete(self, predicate: str) -> None:
        delta.table(self.lake.place, "weather").delete(predicate)


@pytest.fixture(params=OUTPUTS)
def filled(request, lakes, hbase, tmp_path) -> Filled:
    table = f"weather:t{uuid.uuid4().hex[:12]}"
    lake = lakes.new("local", HBASE_ENABLED="true", ISOBAR__HBASE__TABLE=table, **hbase)
    lake.put(build(DAYS, CITIES[:2]).files)
    lake.land()
    lake.isobar = lake.isobar.having(ISOBAR__QUERIES__PATH=str(tmp_path))
    filled = Filled(request.param, lake, tmp_path, hbase, table)
    filled.select("dt = $dt")
    return filled


def test_output_has_the_rows_of_the_query_with_their_types(filled):
    filled.run()
    rows = filled.rows()
    assert rows == filled.expected()
    assert len(rows) == 6 and rows[0].keys() == COLUMNS.keys()


def test_second_run_does_not_touch_the_output(filled):
    filled.run()
    before = filled.state()
    filled.run()
    filled.run("--dt", str(DAYS[0]))
    assert filled.state() == before


def test_changed_day_replaces_its_rows_only(filled):
    filled.run()
    before = filled.rows()
    filled.delete(f"dt = '{DAYS[1]}' AND kafka_offset % 2 = 0")
    filled.run()
    after = filled.rows()
    assert after == filled.expected()
    changed = {row["dt"] for row in after if row not in before}
    assert changed == {str(DAYS[1])}


def test_day_that_lost_its_rows_is_emptied_and_may_return(filled):
    filled.run()
    filled.delete(f"dt = '{DAYS[1]}' AND city_id = {CITIES[0].id}")
    filled.run()
    assert filled.rows() == filled.expected() and len(filled.rows()) == 5
    filled.delete(f"dt = '{DAYS[1]}'")
    filled.run()
    assert {row["dt"] for row in filled.rows()} == {str(DAYS[0]), str(DAYS[2])}
    before = filled.state()
    filled.run()
    assert filled.state() == before


def test_row_of_another_partition_is_refused_before_anything_is_written(filled):
    filled.run()
    before, rows = filled.state(), filled.rows()
    filled.select("dt >= $dt")
    says = [r"daily", str(DAYS[0]), str(DAYS[1]), "by the parameter"]
    filled.lake.isobar.refused("run", "daily", "--dt", str(DAYS[0]), code=1, says=says)
    assert (filled.state(), filled.rows()) == (before, rows)


@pytest.mark.parametrize("step", STEPS)
def test_killed_run_is_completed_by_the_next(filled, step):
    for times in (1, 2):
        dying = filled.lake.isobar.having(ISOBAR_FAIL_POINT=f"{step}:{times}")
        outcome = dying.run("run", "daily", "--all")
        assert outcome.code in (0, -signal.SIGKILL), outcome
    filled.run()
    assert filled.rows() == filled.expected()
    before = filled.state()
    filled.run()
    assert filled.state() == before
