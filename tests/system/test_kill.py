"""Files that a killed process leaves behind are never read, and are removed. test_sources asserts that no message is lost."""

import re
import time

import pytest

from support import delta
from support.lake import Lake
from support.weather_data import CITIES, build, date, day_range

TABLES = ["weather", "weather_forecast", "dead_letters"]
LOG_FILE = re.compile(r"\d{20}\.(json|checkpoint\.parquet)|_last_checkpoint")
BAD = ["cut short", "no weather", "Kelvin", "an empty line", "no AQI", "a key twice"]


def nothing_lies_about(lake: Lake) -> None:
    for table in TABLES:
        files = {stored.path for stored in delta.data_files(lake.place, table)}
        assert files == delta.live_files(lake.place, table), f"orphans or temporary files beside {table}"
        strange = [name for name in lake.place.names(f"lake/{table}/_delta_log") if not LOG_FILE.fullmatch(name)]
        assert strange == [], f"temporary files in the log of {table}"


def temporary(kind: str, path: str, number: int = 1) -> str:
    """The temporary path of a file before it is renamed to `path`."""
    folder, name = path.rsplit("/", 1)
    return f"{folder}/.{name}.tmp.{number}" if kind == "hdfs" else f"{folder}/{name}#{number}"


@pytest.mark.parametrize("remover", [["land"], ["table", "sweep"]], ids=" ".join)
def test_orphan_and_temporary_files_are_never_read_and_removed_later(lakes, kind, remover):
    """Files as after a crash, and old enough that no writer still writes them."""
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake = lakes.new(kind)
    lake.put(export.files)
    lake.land()
    [live, *_] = sorted(delta.live_files(lake.place, "weather"))
    folder = live.rsplit("/", 1)[0]
    log = "lake/weather/_delta_log"
    version = delta.version(lake.place, "weather")
    left_behind = [
        f"{folder}/isobar-0e9c1b5a-7a5e-4c1e-9d52-6f0c3cbb0001.zstd.parquet",
        temporary(kind, f"{folder}/isobar-0e9c1b5a-7a5e-4c1e-9d52-6f0c3cbb0002.zstd.parquet", 3),
        temporary(kind, f"{log}/{version:020d}.json"),
        temporary(kind, f"{log}/{version + 1:020d}.json"),
        temporary(kind, f"{log}/{version:020d}.checkpoint.parquet"),
        temporary(kind, f"{log}/_last_checkpoint"),
    ]
    leave_behind(lake, left_behind, lake.place.read(live))
    assert lake.isobar.scalar("SELECT count(*) AS n FROM weather") == len(export.records)
    if remover == ["land"]:
        lake.put(build([date(2026, 1, 16)], CITIES[:1], first_offset=10**6).files)
        lake.land()
    else:
        lake.isobar.ok(*remover)
    there = {stored.path for stored in lake.place.walk("lake/weather")}
    assert there.isdisjoint(left_behind)
    assert delta.live_files(lake.place, "weather") <= there


def test_landing_whose_staged_files_are_removed_lands_all(lakes, kind):
    """Orphan-file removal cannot distinguish staged files of a running landing from those of a killed one."""
    export = build(day_range(date(2026, 1, 1), 8), CITIES[:3], forecasts=1, malformed=BAD)
    lake = lakes.new(kind, ISOBAR__LAND__ROWS_MAX="40")
    lake.put(export.files)
    process = lake.isobar.start("land", "--from", "files", lake.place.export_url, "--once")
    sweeps = 0
    while process.poll() is None:
        lake.isobar.ok("table", "sweep")
        sweeps += 1
    assert process.returncode == 0, process.said()
    assert sweeps > 2, "there was hardly a landing to disturb"
    lake.must_have_landed(export.records, export.bad)
    lake.isobar.ok("table", "sweep")
    nothing_lies_about(lake)


def test_temporary_entry_of_next_version_is_removed_by_an_idle_landing(lakes, kind):
    """No writer commits that version, so only orphan-file removal can make the temporary entry stale."""
    lake = lakes.new(kind)
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    lake.land()
    left_behind = []
    for table in TABLES:
        entry = f"lake/{table}/_delta_log/{delta.version(lake.place, table) + 1:020d}.json"
        left_behind.append(temporary(kind, entry))
    leave_behind(lake, left_behind, b"{")
    lake.land()
    nothing_lies_about(lake)


def test_temporary_file_of_aggregates_is_removed_by_the_next_run(lakes, kind):
    day = date(2026, 1, 15)
    lake = lakes.new(kind)
    lake.put(build([day], CITIES[:1]).files)
    lake.land()
    path = lake.aggregates_path(day)
    left_behind = [temporary(kind, path), temporary(kind, path, 2)]
    leave_behind(lake, left_behind, b"{")
    lake.aggregate()
    assert len(lake.aggregates(day)) == 1
    assert {stored.path for stored in lake.place.walk("weather")}.isdisjoint(left_behind)


def leave_behind(lake: Lake, paths: list[str], content: bytes) -> None:
    for path in paths:
        lake.place.write(path, content)
        lake.place.set_modified(path, time.time() - 10 * 86_400)
