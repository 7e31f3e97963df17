"""The binary kills itself at each step between two changes of durable data: no message is lost or duplicated.

Or stopped at a step, while another one does what that one does not know yet.
"""

import random
import signal
from datetime import date, timedelta
from pathlib import Path

import pytest

from support import delta, oracle
from support.binary import HDFS_USER, Isobar, Process
from support.fixtures import LONG
from support.lake import Lake
from support.topic import Topic, weather
from support.weather_data import CITIES
from test_consume import consumer_of
from test_consume import must_hold as must_be_consumed
from test_export import consume, exporting
from test_export import must_hold as must_be_exported
from test_kafka import count, end, lake_of, must_hold, wait_until

DEATHS = 20 if LONG else 1
# Fail points of a landing by group, and how often a process may reach them before the kill. Each group has its own lake, since
# opening a lake with many commits is slow.
LANDING = {
    "data files": (4, ["kafka.polled", "data_file.begun", "data_file.closed", "data_file.stored"]),
    "log entries": (4, ["log_entry.begun", "log_entry.closed", "log_entry.stored", "group.begun"]),
    # Reached so rarely that the first time is killed.
    "checkpoints": (1, ["checkpoint.begun", "checkpoint.closed", "checkpoint.stored"]),
    "the newest checkpoint": (1, ["last_checkpoint.begun", "last_checkpoint.closed", "last_checkpoint.stored"]),
}
CONSUMING = ["kafka.polled", "rows.inserted", "rows.committed", "group.begun"]
EXPORTING = ["export.begun", "data_file.begun", "data_file.closed", "data_file.stored", "export.written", "export.finished"]


def steps(kind: str, points: list[str]) -> list[str]:
    """The fail points of this kind of lake: local files are renamed by a library without fail points."""
    return [point for point in points if kind == "hdfs" or not point.endswith(".closed")]


class Days:
    """Produces further messages for each process, those of another day each time."""

    def __init__(self, topic: Topic):
        self.topic = topic
        self.day = date(2026, 1, 1)

    def produce(self) -> None:
        """Produces the messages of the next day."""
        self.topic.produce(weather([self.day], CITIES[:1])[:60], kinds=["cut short", "NaN"], seed=self.day.toordinal())
        self.day += timedelta(days=1)


class Consumed(Days):
    """Also consumes the messages into PostgreSQL before the process starts."""

    def __init__(self, topic: Topic, lake: Lake):
        super().__init__(topic)
        self.lake = lake

    def produce(self) -> None:
        super().produce()
        consume(self.lake)


def die(isobar: Isobar, point: str, times: int, *command: str) -> bool:
    """Whether the command reached the fail point `times` times; else it must have succeeded."""
    outcome = isobar.having(ISOBAR_FAIL_POINT=f"{point}:{times}").run(*command)
    assert outcome.code in (0, -signal.SIGKILL), outcome
    return outcome.code != 0


def lives(isobar: Isobar, points: list[str], times_max: int, days: Days, *command: str):
    """Kills the command at each fail point, and yields the fail point after the last kill."""
    chance = random.Random(4)
    for point in points:
        deaths, times_here = 0, times_max
        for _ in range(3 * DEATHS + 3):
            days.produce()
            times = chance.randint(1, times_here)
            if die(isobar, point, times, *command):
                deaths += 1
            else:
                # No process may reach it so often.
                times_here = max(1, times - 1)
            if deaths == DEATHS:
                break
        assert deaths == DEATHS, f"{point} was hardly ever reached"
        yield point


@pytest.mark.parametrize("of", LANDING)
def test_landing_killed_at_each_step_loses_nothing(lakes, kind, of, topic, figures, monkeypatch):
    lake = lake_of(lakes, kind, topic, ISOBAR__LAND__ROWS_MAX="20")
    days = Days(topic)
    days.produce()
    land = ["land", "--from", "kafka", "--once"]
    lake.isobar.ok(*land)
    if "checkpoint" in of:
        # The owner of the table on HDFS.
        monkeypatch.setenv("HADOOP_USER_NAME", HDFS_USER)
        delta.table(lake.place, "weather").alter.set_table_properties({"delta.checkpointInterval": "2"})
    times_max, points = LANDING[of]
    there = steps(kind, points)
    for point in lives(lake.isobar, there, times_max, days, *land):
        lake.isobar.ok(*land)
        assert lake.identities() == oracle.identities(topic.records), point
    must_hold(lake, topic)
    figures.record(
        f"killed at each of {len(there)} steps of land from Kafka, {of}, {kind}",
        f"{DEATHS} times each, {len(topic.records)} rows: 0 lost, 0 double",
    )


def test_consume_killed_at_each_step_loses_nothing(isobar, tmp_path, topic, database, figures):
    consumer = consumer_of(isobar, tmp_path, topic, database, ISOBAR__CONSUME__ROWS_MAX="20")
    command = ["consume", "--once"]
    for point in lives(consumer, CONSUMING, 2, Days(topic), *command):
        consumer.ok(*command)
        assert database.identities() == oracle.identities(topic.records), point
    must_be_consumed(database, topic)
    figures.record(
        f"killed at each of {len(CONSUMING)} steps of consume",
        f"{DEATHS} times each, {len(topic.records)} rows: 0 lost, 0 double",
    )


def test_export_killed_at_each_step_loses_nothing(lakes, kind, topic, database, figures):
    lake = exporting(lakes, kind, topic, database, ISOBAR__EXPORT__ROWS_MAX="20")
    there = steps(kind, EXPORTING)
    for _ in lives(lake.isobar, there, 2, Consumed(topic, lake), "export", "--once"):
        lake.isobar.ok("export", "--once")
        must_be_exported(lake, topic.records)
    figures.record(
        f"killed at each of {len(there)} steps of export, {kind}",
        f"{DEATHS} times each, {len(topic.records)} rows: 0 lost, 0 double",
    )


@pytest.mark.parametrize("point", ["tables.begun", "tables.opened"])
def test_landing_that_opens_beside_another_reports_no_loss(lakes, topic, point):
    """Between its read of the watermarks and its read of the tables, the other landing commits messages that Kafka then
    deletes."""
    lake = lake_of(lakes, "local", topic, ISOBAR__LAND__INTERVAL="200ms")
    days = [weather([date(2026, 1, day)], CITIES[:2]) for day in (15, 16, 17)]
    topic.produce(days[0])
    lake.isobar.ok("land", "--from", "kafka", "--once")
    with lake.isobar.having(ISOBAR_STOP_POINT=f"{point}:1").start("land", "--from", "kafka") as successor:
        wait_until(lambda: is_stopped(successor), "the step")
        topic.produce(days[1], kinds=["cut short"])
        lake.isobar.ok("land", "--from", "kafka", "--once")
        topic.delete_before({number: high for number, (_, high) in enumerate(topic.watermarks())})
        successor.send_signal(signal.SIGCONT)
        topic.produce(days[2])
        wait_until(lambda: successor.poll() is not None or count(lake) == len(topic.records), "what came after")
        assert end(successor) == 0, successor.said()
    must_hold(lake, topic)


def is_stopped(process: Process) -> bool:
    assert process.poll() is None, process.said()
    _, _, after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")
    return after_name.startswith("T")
