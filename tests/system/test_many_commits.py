"""A table that gets one small commit after another, as from a poll every ten minutes: what a commit costs, and the opening at the end."""

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
# Time is looked at in so many commits at once, more than are made between two looks; the first ones still fill caches.
WARM_UP, SOME = 20, 500
LOOK_S = 0.2
COST_MAX = 1.5
OPEN_MAX_S = 0.5
OPENINGS = 9
PATIENCE_S = 3600
# A table whose log need not be kept: checkpoints come after so many commits, and what is behind them may go at once.
INTERVAL = 5
SHORT_LOG = {"delta.checkpointInterval": str(INTERVAL), "delta.logRetentionDuration": "interval 0 seconds"}


def one_file_a_poll(count: int) -> Export:
    """Each becomes a commit of its own, in the order of their time."""
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


def test_a_commit_costs_at_last_what_it_cost_at_first(lakes, kind, figures):
    export = one_file_a_poll(COMMITS)
    files, lake = lakes.new("local"), lakes.new(kind, ISOBAR__LAND__ROWS_MAX=str(len(CITIES)))
    files.put(export.files)
    with lake.isobar.start("land", "--from", "files", files.place.export_url, "--once") as process:
        spent = watch(lake, process)
    log = [stored for stored in lake.place.walk("lake/weather/_delta_log") if stored.path.endswith(".json")]
    # One made the table.
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
    """Files and their sizes; the newest checkpoint is the largest."""
    kinds: dict[str, list[int]] = {"data files": [], "log entries": [], "checkpoints": []}
    for stored in lake.place.walk("lake/weather"):
        if stored.path.endswith(".checkpoint.parquet"):
            kinds["checkpoints"].append(stored.size)
        elif stored.path.endswith(".parquet"):
            kinds["data files"].append(stored.size)
        elif stored.path.endswith(".json"):
            kinds["log entries"].append(stored.size)
    told = [f"{len(sizes)} {kind} of {sum(sizes) >> 10} KiB" for kind, sizes in kinds.items()]
    return ", ".join([*told, f"the largest checkpoint {max(kinds['checkpoints'], default=0) >> 10} KiB"])


def watch(lake: Lake, process: Process) -> list[tuple[int, float]]:
    """Until it has landed everything; a cost that grows ends it long before. Returns how much CPU was spent by when."""
    deadline, seen, spent = time.monotonic() + PATIENCE_S, 0, []
    while process.poll() is None:
        assert time.monotonic() < deadline, process.said()
        time.sleep(LOOK_S)
        before_s = cpu_s(process)
        commits = delta.versions_seen(lake.place, "weather")
        if commits > WARM_UP:
            # The log is listed while it grows.
            spent.append((commits, (before_s + cpu_s(process)) / 2))
        if LONG and commits >= seen + 2 * SOME:
            seen = commits
            # By its CPU: by the clock, whatever else the machine does at the moment would end it.
            first, last = cpu_ms(spent)
            assert last <= COST_MAX * first, f"{last:.1f} ms CPU a commit after {commits} of them, {first:.1f} ms at first"
    assert process.returncode == 0, process.said()
    return spent


def cpu_s(process: Process) -> float:
    """What it has used so far; one that has ended and is not yet waited for still says it."""
    _, _, fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def cpu_ms(spent: list[tuple[int, float]], middle=statistics.median) -> tuple[float, float]:
    """Of a commit, of the first and of the last of them: as a median without the checkpoint, which is one of a hundred and says
    all of the table again; as a mean with it."""

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
    """What its opening takes is the start of the process and of HDFS."""
    lake = lakes.new(kind)
    lake.put(one_file_a_poll(1).files)
    lake.land()
    return lake


def opening_s(lake: Lake) -> float:
    return statistics.median(lake.isobar.ok("table", "describe", "weather").seconds for _ in range(OPENINGS))


def test_the_log_is_cut_off_behind_a_checkpoint(lakes, kind, monkeypatch):
    """As it is for each table after a month, by when its entries are old enough."""
    export = one_file_a_poll(8 * INTERVAL)
    first, *others = export.files.items()
    lake = lakes.new(kind, ISOBAR__LAND__ROWS_MAX=str(len(CITIES)))
    lake.put(dict([first]))
    lake.land()
    # Whose the table is, on HDFS.
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
