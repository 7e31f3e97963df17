"""A table with many small commits, as from a poll every ten minutes: the cost of a commit, and of opening the table."""

import os
import statistics
import time
from datetime import date, timedelta
from pathlib import Path

from support import delta, oracle
from support.binary import HDFS_USER, Process
from support.fixtures import LONG
from support.lake import Lake
from support.weather_data import CITIES, Export, Record, export_line, message, polls

# Ten thousand are more than two months of ten-minute landing.
COMMITS = 10_000 if LONG else 60
# Commits of one measurement, more than are made between two samples; the first ones still fill caches.
WARM_UP, SOME = 20, 500
LOOK_S = 0.2
COST_MAX = 1.5
OPEN_MAX_S = 0.5
OPENINGS = 9
TIMEOUT_S = 3600
# A table without log retention: checkpoints after this many commits, and earlier entries may be deleted at once.
INTERVAL = 5
SHORT_LOG = {"delta.checkpointInterval": str(INTERVAL), "delta.logRetentionDuration": "interval 0 seconds"}


def one_file_a_poll(count: int) -> Export:
    """An export with a file for each poll, each of which becomes a commit."""
    export, day = Export(), date(2026, 1, 1)
    while len(export.files) < count:
        for instants in zip(*(polls(city, [day]) for city in CITIES), strict=True):
            lines = []
            for city, at in zip(CITIES, instants, strict=True):
                record = Record(0, len(export.records), at, message(city, at))
                export.records.append(record)
                lines.append(export_line(record) + b"\n")
            export.files[f"dt={day}/weather_{len(export.files):06d}.json"] = b"".join(lines)
            if len(export.files) == count:
                break
        day += timedelta(days=1)
    return export


def test_cost_of_a_commit_does_not_grow(lakes, kind, figures):
    export = one_file_a_poll(COMMITS)
    files, lake = lakes.new("local"), lakes.new(kind, ISOBAR__LAND__ROWS_MAX=str(len(CITIES)))
    files.put(export.files)
    with lake.isobar.start("land", "--from", "files", files.place.export_url, "--once") as process:
        spent = watch(lake, process)
    log = [stored for stored in lake.place.walk("lake/weather/_delta_log") if stored.path.endswith(".json")]
    # One commit created the table.
    assert len(log) == COMMITS + 1
    sizes = [stored.size for stored in log[1:]]
    assert max(sizes) < COST_MAX * min(sizes), "an entry of the log grows with the table"
    assert lake.identities() == oracle.identities(export.records)
    figures.record(f"what {COMMITS} commits of {len(CITIES)} rows leave, {kind}", left(lake))
    if LONG:
        opening = opening_s(lake) - opening_s(of_one_commit(lakes, kind))
        first, last = cost_ms(lake)
        figures.record(
            f"{COMMITS} commits into one table, {kind}", f"{first:.1f} ms the first {SOME}, {last:.1f} ms the last"
        )
        assert last <= COST_MAX * first
        means = cpu_ms(spent, statistics.mean)
        first, last = cpu_ms(spent)
        figures.record(
            f"CPU of {COMMITS} commits into one table, {kind}",
            f"{first:.1f} ms the first {SOME}, {last:.1f} ms the last; {means[0]:.1f} ms and {means[1]:.1f} ms with their checkpoint",
        )
        assert last <= COST_MAX * first
        figures.record(f"opening a table of {COMMITS} commits, {kind}", f"{opening * 1000:.0f} ms")
        assert opening <= OPEN_MAX_S


def left(lake: Lake) -> str:
    """Describes the files of the log, of which the newest checkpoint is the largest."""
    kinds: dict[str, list[int]] = {"data files": [], "log entries": [], "checkpoints": []}
    for stored in lake.place.walk("lake/weather"):
        if stored.path.endswith(".checkpoint.parquet"):
            kinds["checkpoints"].append(stored.size)
        elif stored.path.endswith(".parquet"):
            kinds["data files"].append(stored.size)
        elif stored.path.endswith(".json"):
            kinds["log entries"].append(stored.size)
    parts = [f"{len(sizes)} {kind} of {sum(sizes) >> 10} KiB" for kind, sizes in kinds.items()]
    return ", ".join([*parts, f"the largest checkpoint {max(kinds['checkpoints'], default=0) >> 10} KiB"])


def watch(lake: Lake, process: Process) -> list[tuple[int, float]]:
    """Watches the process until it has landed everything, or times out. Returns CPU time by number of commits."""
    deadline, seen, spent = time.monotonic() + TIMEOUT_S, 0, []
    while process.poll() is None:
        assert time.monotonic() < deadline, process.said()
        time.sleep(LOOK_S)
        before_s = cpu_s(process)
        commits = delta.versions_seen(lake.place, "weather")
        if commits > WARM_UP:
            # The listing races with the landing.
            spent.append((commits, (before_s + cpu_s(process)) / 2))
        if LONG and commits >= seen + 2 * SOME:
            seen = commits
            # By CPU time, which does not depend on other load.
            first, last = cpu_ms(spent)
            assert last <= COST_MAX * first, f"{last:.1f} ms CPU a commit after {commits} of them, {first:.1f} ms at first"
    assert process.returncode == 0, process.said()
    return spent


def cpu_s(process: Process) -> float:
    """CPU time of the process so far, also of a zombie process."""
    _, _, fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def cpu_ms(spent: list[tuple[int, float]], middle=statistics.median) -> tuple[float, float]:
    """CPU time of a commit, of the first and of the last commits. The median excludes checkpoints, which are one of a hundred
    commits and write the whole state; the mean includes them."""

    def of(begin: int, end: int) -> float:
        some = [then for then in spent if begin <= then[0] <= end]
        pairs = zip(some, some[1:], strict=False)
        return middle([1000 * (b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] > a[0] for _ in range(b[0] - a[0])])

    return of(0, spent[0][0] + SOME), of(spent[-1][0] - SOME, spent[-1][0])


def cost_ms(lake: Lake) -> tuple[float, float]:
    """The median time from one commit to the next, of the first and of the last of them."""
    log = lake.place.walk("lake/weather/_delta_log")
    made = sorted(stored.modified_ms for stored in log if stored.path.endswith(".json"))
    gaps = [after - before for before, after in zip(made, made[1:], strict=False)][WARM_UP:]
    return statistics.median(gaps[:SOME]), statistics.median(gaps[-SOME:])


def of_one_commit(lakes, kind: str) -> Lake:
    """A lake with one commit: opening it takes the start of the process and of HDFS."""
    lake = lakes.new(kind)
    lake.put(one_file_a_poll(1).files)
    lake.land()
    return lake


def opening_s(lake: Lake) -> float:
    return statistics.median(lake.isobar.ok("table", "describe", "weather").seconds for _ in range(OPENINGS))


def test_log_is_deleted_behind_a_checkpoint(lakes, kind, monkeypatch):
    """As for every table after a month, when its entries are old enough."""
    export = one_file_a_poll(8 * INTERVAL)
    first, *others = export.files.items()
    lake = lakes.new(kind, ISOBAR__LAND__ROWS_MAX=str(len(CITIES)))
    lake.put(dict([first]))
    lake.land()
    # The owner of the table on HDFS.
    monkeypatch.setenv("HADOOP_USER_NAME", HDFS_USER)
    delta.table(lake.place, "weather").alter.set_table_properties(SHORT_LOG)
    lake.put(dict(others))
    lake.land()
    log = [stored.path for stored in lake.place.walk("lake/weather/_delta_log")]
    assert delta.version(lake.place, "weather") > len(export.files)
    assert sum(path.endswith(".json") for path in log) <= 2 * INTERVAL, log
    assert 1 <= sum(path.endswith(".checkpoint.parquet") for path in log) <= 2, log
    assert lake.identities() == oracle.identities(export.records)
    assert lake.isobar.scalar("SELECT count(*) AS n FROM weather") == len(export.records)
