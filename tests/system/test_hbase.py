"""Aggregates in HBase, read by another client: the documented cells, unchanged by a second run, updated by a changed input,
and completed by the next run after a failure of HBase."""

import json
import re
import select
import socket
import threading
import time
import uuid

import pytest

from support import delta
from support.fixtures import everything
from support.hbase import connected
from support.lake import DAILY, DAILY_TABLE, Lake
from support.weather_data import CITIES, Record, build, date, day_range, message, paris_midnight

DAYS = day_range(date(2026, 1, 15), 3)
LIMIT_S = 30
on_hdfs = pytest.mark.parametrize("lake", ["hdfs"], indirect=True)


def cells(hbase, name: str) -> dict[str, dict[str, list[tuple[str, int]]]]:
    """Rows by key, columns by name: every version of the cell, newest first, with its time in ms."""
    with connected(hbase) as connection:
        if name.encode() not in connection.tables():
            return {}
        table = connection.table(name)
        return {
            key.decode(): {
                column.decode(): [
                    (value.decode(), time_ms)
                    for value, time_ms in table.cells(key, column, versions=10, include_timestamp=True)
                ]
                for column in columns
            }
            for key, columns in table.scan()
        }


def newest(hbase, name: str) -> dict[str, dict[str, str]]:
    """Rows by key, their columns without the family."""
    return {
        key: {column.removeprefix("agg:"): versions[0][0] for column, versions in columns.items()}
        for key, columns in cells(hbase, name).items()
    }


def times(hbase, name: str) -> dict[str, set[int]]:
    return {
        key: {time_ms for versions in columns.values() for _, time_ms in versions}
        for key, columns in cells(hbase, name).items()
    }


@pytest.fixture
def table() -> str:
    return f"weather:t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def lake(request, lakes, hbase, table) -> Lake:
    """Three days of two cities, landed: in a local directory, where tests may change tables, or `on_hdfs`."""
    kind = getattr(request, "param", "local")
    lake = lakes.new(kind, HBASE_ENABLED="true", ISOBAR__HBASE__TABLE=table, **hbase)
    lake.put(build(DAYS, CITIES[:2]).files)
    lake.land()
    return lake


def must_hold_the_table(lake: Lake, hbase, table: str) -> None:
    """A row for each row of the lake's table, a cell for each value that is not null."""
    found = newest(hbase, table)
    rows = lake.rows(DAILY_TABLE)
    assert sorted(found) == sorted(f"{row['place_id']}#{row['dt']}" for row in rows)
    for row in rows:
        texts = found[f"{row['place_id']}#{row['dt']}"]
        assert texts.keys() == {column for column, value in row.items() if value is not None}
        for column, text in texts.items():
            value = row[column]
            # Bit by bit: both come from the same committed number.
            same = float(text) == value if isinstance(value, float) else text == str(value)
            assert same, f"{column} of {row['place_id']}#{row['dt']} is {text} in HBase and {value} in the lake"


def delete(lake: Lake, predicate: str) -> None:
    delta.table(lake.place, "weather").delete(predicate)


def test_run_writes_the_documented_cells(lakes, hbase, table):
    lake = lakes.new("local", HBASE_ENABLED="true", ISOBAR__HBASE__TABLE=table, **hbase)
    lake.put(everything().files)
    before_ms = time.time_ns() // 1_000_000
    lake.land()
    after_ms = time.time_ns() // 1_000_000
    lake.aggregate()
    must_hold_the_table(lake, hbase, table)
    [time_ms] = set().union(*times(hbase, table).values())
    assert before_ms <= time_ms <= after_ms, "the time of the cells is that of the input's version"
    with connected(hbase) as connection:
        assert list(connection.table(table).families()) == [b"agg"]


@on_hdfs
def test_second_run_leaves_cells_unchanged(lake, hbase, table):
    lake.aggregate()
    before, version = cells(hbase, table), delta.version(lake.place, DAILY_TABLE)
    assert len(before) == 6
    for arguments in [["--all"], ["--dt", str(DAYS[0])]]:
        lake.aggregate(*arguments)
        assert (cells(hbase, table), delta.version(lake.place, DAILY_TABLE)) == (before, version)


def test_late_line_replaces_the_cells_of_its_day(lake, hbase, table):
    lake.aggregate()
    before = times(hbase, table)
    late_at = paris_midnight(DAYS[1]) + 7_300
    late = Record(0, 1_000_000, late_at, message(CITIES[0], late_at))
    lake.put({"dt=2026-02-01/weather_late.json": build(DAYS, CITIES[:2]).plus([late]).files[late.path]})
    lake.land()
    lake.aggregate()
    must_hold_the_table(lake, hbase, table)
    after = times(hbase, table)
    for key in before:
        if key.endswith(str(DAYS[1])):
            assert min(after[key]) > max(before[key])
        else:
            assert after[key] == before[key]


def test_removed_rows_are_deleted_and_may_return(lake, hbase, table):
    lake.aggregate()
    gone = f"{CITIES[0].id}#{DAYS[1]}"
    delete(lake, f"dt = '{DAYS[1]}' AND city_id = {CITIES[0].id}")
    lake.aggregate()
    assert gone not in newest(hbase, table)
    must_hold_the_table(lake, hbase, table)
    delete(lake, f"dt = '{DAYS[2]}'")
    lake.aggregate()
    assert {key.split("#")[1] for key in newest(hbase, table)} == {str(day) for day in DAYS[:2]}
    must_hold_the_table(lake, hbase, table)
    # Under new offsets, since landed identities are skipped.
    again = build(DAYS, CITIES[:2], first_offset=5_000_000)
    lake.put({f"again/{path.replace('/', '-')}": data for path, data in again.files.items()})
    lake.isobar.land(f"{lake.place.export_url}/again")
    lake.aggregate()
    assert gone in newest(hbase, table)
    must_hold_the_table(lake, hbase, table)


def test_day_with_the_same_rows_in_other_files_is_not_copied_again(lake, hbase, table):
    """After a compaction of the input, beside a day that has changed."""
    lake.put(build(DAYS, CITIES[:2], first_offset=1_000_000).files)
    lake.land()
    lake.aggregate()
    files = delta.live_files(lake.place, "weather")
    delta.table(lake.place, "weather").optimize.compact()
    assert delta.live_files(lake.place, "weather") != files
    lake.put(build(DAYS[1:2], CITIES[:2], first_offset=2_000_000).files)
    lake.land()
    for copied in ([1], []):
        said = [json.loads(line) for line in lake.aggregate().stderr.splitlines()]
        assert [line["partitions"] for line in said if line["message"] == "written to HBase"] == copied
    must_hold_the_table(lake, hbase, table)


def test_cells_of_removed_columns_stay(lakes, hbase, table, tmp_path):
    text = """--! description = "a"
--! params      = {{ dt = "date" }}
--! partition   = "dt"
--! [output.table]
--! name        = "{name}"
--! [output.hbase]
--! table       = "{table}"
--! row_key     = ["city_id", "dt"]
SELECT city_id, dt, {columns} FROM weather WHERE dt = $dt GROUP BY city_id, dt"""
    lake = lakes.new("local", HBASE_ENABLED="true", ISOBAR__QUERIES__PATH=str(tmp_path), **hbase)
    lake.put(build(DAYS[:1], CITIES[:2]).files)
    lakes.new("local").isobar.having(ISOBAR__LAKE__URL=lake.place.lake_url).land(lake.place.export_url)
    versions = [("one", "max(temp) AS hot, 1 AS n", {"hot", "n"}), ("two", "max(temp) AS hot", {"hot"})]
    for name, columns, left in versions:
        (tmp_path / "q.sql").write_text(text.format(name=name, table=table, columns=columns))
        # The input changes too, since it determines the time of the cells.
        delete(lake, f"kafka_offset = {10 if name == 'two' else 11}")
        lake.isobar.ok("run", "q", "--all")
        for texts in newest(hbase, table).values():
            assert texts.keys() == {"city_id", "dt"} | left


def test_hbase_enabled_later_gets_all_rows(lake, hbase, table):
    lake.isobar = lake.isobar.having(HBASE_ENABLED="false")
    lake.aggregate()
    assert cells(hbase, table) == {}
    files = delta.live_files(lake.place, DAILY_TABLE)
    lake.isobar = lake.isobar.having(HBASE_ENABLED="true")
    lake.aggregate()
    must_hold_the_table(lake, hbase, table)
    assert delta.live_files(lake.place, DAILY_TABLE) == files


def must_be_published(lake: Lake) -> None:
    """Asserts that the other outputs are published, independent of HBase."""
    assert len(lake.rows(DAILY_TABLE)) == 6
    assert all(len(lake.aggregates(day)) == 2 for day in DAYS)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@on_hdfs
def test_next_run_completes_hbase_after_an_outage(lake, hbase, table):
    port = free_port()
    elsewhere = lake.isobar.having(HBASE_PORT=str(port))
    says = [rf"{hbase['HBASE_HOST']}:{port}", "HBASE_HOST", "HBASE_PORT", "HBASE_ENABLED", "next run completes"]
    for _ in range(2):  # the second run has nothing to compute
        elsewhere.refused("run", DAILY, "--all", code=1, says=says, within_s=LIMIT_S)
        must_be_published(lake)
    lake.aggregate()
    must_hold_the_table(lake, hbase, table)


@on_hdfs
def test_killed_and_stopped_server_are_reported(stack, lake, hbase, table):
    says = [rf"{hbase['HBASE_HOST']}:{hbase['HBASE_PORT']}", "HBASE_HOST", "HBASE_PORT"]
    for disturb in [stack.kill, stack.stop]:
        disturb("thrift")
        lake.isobar.refused("run", DAILY, "--all", code=1, says=says, within_s=LIMIT_S)
        must_be_published(lake)
        lake.isobar.refused("check", code=1, says=says, within_s=LIMIT_S)
        stack.restore()
    lake.aggregate()
    must_hold_the_table(lake, hbase, table)


class CutAfter:
    """A proxy that closes after a number of bytes to the server, as a killed server does, and refuses further connections."""

    def __init__(self, hbase, limit: int):
        self.server = (hbase["HBASE_HOST"], int(hbase["HBASE_PORT"]))
        self.left = limit
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        self.listener.close()
        with client, socket.create_connection(self.server) as server:
            while self.left > 0:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if source is server:
                        client.sendall(data)
                    else:
                        server.sendall(data[: self.left])
                        self.left -= len(data)


def test_next_run_repairs_a_write_that_was_cut_off(lakes, hbase, table):
    """Cuts the connection at a dozen positions. The next run leaves the same cells as an undisturbed one."""
    undisturbed = f"weather:t{uuid.uuid4().hex[:12]}"
    lake = lakes.new("local", HBASE_ENABLED="true", **hbase)
    lake.put(build(DAYS, CITIES[:3]).files)
    lake.land()
    lake.isobar = lake.isobar.having(ISOBAR__HBASE__TABLE=undisturbed)
    lake.aggregate()
    expected = cells(hbase, undisturbed)
    cut = 0
    for limit in [10, 60, 130, 250, 400, 700, 1_500, 3_000, 4_500, 6_000, 7_500, 9_000]:
        name = f"{table}x{limit}"
        way = CutAfter(hbase, limit)
        cut_off = lake.isobar.having(ISOBAR__HBASE__TABLE=name, HBASE_HOST="127.0.0.1", HBASE_PORT=str(way.port))
        outcome = cut_off.run("run", DAILY, "--all", timeout_s=LIMIT_S)
        cut += outcome.code
        assert outcome.code == 0 or re.search(rf"127\.0\.0\.1:{way.port}", outcome.stderr), outcome
        lake.isobar.having(ISOBAR__HBASE__TABLE=name).ok("run", DAILY, "--all")
        assert cells(hbase, name) == expected, limit
    assert cut >= 8, "the places lie within the conversation"


@on_hdfs
def test_missing_namespace_is_reported_with_the_command(lake, hbase):
    elsewhere = lake.isobar.having(ISOBAR__HBASE__TABLE="nowhere:aggregates")
    says = ["create_namespace 'nowhere'", "hbase shell"]
    elsewhere.refused("run", DAILY, "--all", code=1, says=says, within_s=LIMIT_S)
    must_be_published(lake)


def test_missing_family_is_reported_with_the_command(lake, hbase, table):
    with connected(hbase) as connection:
        connection.create_table(table, {"other": {}})
    for command in [["check"], ["run", DAILY, "--all"]]:
        lake.isobar.refused(*command, code=1, says=[f"alter '{table}'", "agg"], within_s=LIMIT_S)


def test_table_of_default_namespace_is_found_by_both_names(lake, hbase):
    name = f"t{uuid.uuid4().hex[:12]}"
    for table in [f"default:{name}", name]:
        lake.isobar = lake.isobar.having(ISOBAR__HBASE__TABLE=table)
        lake.aggregate()
        assert re.search(rf"ok +hbase +\S+ +table {table}$", lake.isobar.ok("check").stdout, re.MULTILINE)
    assert len(newest(hbase, name)) == 6


def test_check_reports_hbase(lake, hbase, table):
    where = f"{hbase['HBASE_HOST']}:{hbase['HBASE_PORT']}"
    assert re.search(rf"ok +hbase +{where} +table {table} comes with the first run", lake.isobar.ok("check").stdout)
    lake.aggregate()
    assert re.search(rf"ok +hbase +{where} +table {table}$", lake.isobar.ok("check").stdout, re.MULTILINE)
    port = free_port()
    lake.isobar.having(HBASE_PORT=str(port)).refused("check", code=1, says=[f":{port}", "HBASE_PORT"], within_s=LIMIT_S)
    assert "hbase" not in lake.isobar.having(HBASE_ENABLED="false").ok("check").stdout
