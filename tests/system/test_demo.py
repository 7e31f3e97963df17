"""`isobar demo`: a person sees the right table, its files, and what to try next, and is served; Python counts after it."""

import ast
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from support import delta, oracle
from support.binary import PATIENCE_S, Isobar
from support.lake import DAILY_TABLE
from support.places import LocalPlace
from support.weather_data import PARIS, Record


@pytest.fixture(scope="module")
def demo(isobar, tmp_path_factory):
    """One run of the demo without any configuration: the outcome, the directory and the command."""
    directory = tmp_path_factory.mktemp("demo")
    command = Isobar(str(isobar), directory / "work", {})
    return command.ok("demo", "--once", "--dir", str(directory / "demo")), directory / "demo", command


def exported(directory) -> list[Record]:
    """The export files that the demo wrote, read with Python alone. Demo days have no repeated hour."""
    records = {}
    for path in sorted(directory.rglob("dt=*/weather_*.json")):
        for text in path.read_bytes().splitlines():
            line = json.loads(text)
            local = datetime.strptime(line["event_time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=PARIS)
            record = Record(line["kafka_partition"], line["kafka_offset"], int(local.timestamp()), line["value"])
            records[record.identity] = record
    return list(records.values())


def lake_of(directory) -> LocalPlace:
    [log] = directory.rglob(f"{DAILY_TABLE}/_delta_log")
    place = LocalPlace(directory)
    place.lake_url = f"file://{log.parent.parent}"
    return place


def test_the_tables_are_what_its_own_export_files_say(demo, figures):
    outcome, directory, _ = demo
    records = exported(directory)
    cities = {record.value["weather"]["id"] for record in records}
    assert len(cities) >= 3 and "Paris" in {record.value["weather"]["name"] for record in records}
    place = lake_of(directory)
    assert sorted(
        (row["kafka_partition"], row["kafka_offset"]) for row in delta.rows(place, "weather")
    ) == oracle.identities(records)
    oracle.compare_daily(delta.rows(place, DAILY_TABLE), oracle.daily_weather_by_city(records))
    figures.record(
        "demo --once, debug build", f"{outcome.seconds:.1f} s, {len(records)} messages, {len(cities)} cities"
    )


def test_aggregates_are_published_for_each_day(demo):
    _, directory, _ = demo
    records = exported(directory)
    for day in {record.day for record in records}:
        [file] = directory.rglob(f"dt={day}/aggregates.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        oracle.compare_daily(rows, oracle.daily_weather_by_city(records, day))


def test_a_person_sees_the_table_its_files_and_three_things_to_try(demo):
    outcome, directory, _ = demo
    assert "Paris" in outcome.stdout and "temp_avg" in outcome.stdout
    shown = [word for word in re.findall(r"\S+", outcome.stdout) if str(directory) in word]
    paths = [word.removeprefix("file://").strip(".,:;()|") for word in shown]
    assert any(Path(path).exists() for path in paths), outcome.stdout
    assert len(offered(outcome.stdout)) == 3
    assert re.search(r"\d+(\.\d+)? ?m?s\b", outcome.stdout + outcome.stderr), "no time taken"


def offered(text: str) -> list[list[str]]:
    """The commands that the demo offers: lines that begin with variables and `isobar`."""
    lines = [line.strip().removeprefix("$ ") for line in text.splitlines()]
    return [shlex.split(line) for line in lines if re.match(r"([A-Z_]+=\S+ )*(\S*/)?isobar ", line)]


def test_what_is_offered_works(demo):
    outcome, _, command = demo
    for words in offered(outcome.stdout):
        variables = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
        arguments = words[len(variables) + 1 :]
        command.having(**variables).ok(*arguments)


FREE = ["--set", "serve.flight_listen=127.0.0.1:0", "--set", "serve.http_listen=127.0.0.1:0"]


def test_without_once_it_serves_and_the_three_lines_that_it_prints_work(demo):
    _, directory, command = demo
    process = subprocess.Popen(
        [command.binary, "demo", "--dir", str(directory), *FREE],
        cwd=command.directory,
        env=command.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        shell, python, curl = [copied(line, command) for line in to_copy(process.stdout)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0
    finally:
        process.kill()
        process.communicate()
    hottest: dict[str, float] = {}
    for row in delta.rows(lake_of(directory), "weather", ["city", "temp"]):
        hottest[row["city"]] = max(row["temp"], hottest.get(row["city"], -100.0))
    assert [ast.literal_eval(line) for line in python.splitlines()] == sorted(hottest.items(), key=lambda it: -it[1])
    assert all(re.search(rf"\| {city} +\| {temp} +\|", shell) for city, temp in hottest.items()), shell
    assert 'isobar_queries_total{outcome="ok"} 1\n' in curl and curl.endswith("# EOF\n"), curl


def to_copy(stdout) -> list[str]:
    """The lines that are offered for another shell: one for isobar, one for Python, one for curl."""
    lines = []
    for line in stdout:
        if re.match(r"  (\S*/)?(isobar|python3|curl) ", line):
            lines.append(line.strip())
        if len(lines) == 3:
            return lines
    raise AssertionError(f"it ended, and said no more than {lines}")


def copied(line: str, command: Isobar) -> str:
    """What the line prints in a shell that finds the Python of the tests."""
    python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=command.directory,
        env=command.environment() | {"PATH": python},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{line}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("key", ["serve.flight_listen", "serve.http_listen"])
def test_an_address_that_is_taken_is_told_before_the_work(demo, tmp_path, key):
    _, _, command = demo
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["demo", "--dir", str(tmp_path / "demo"), *FREE, "--set", f"{key}={address}"]
        command.refused(*arguments, code=1, says=[key, address, "--once", f"--set {key}="])
    assert not (tmp_path / "demo" / "weather").exists()


def test_what_the_demo_does_not_take_by_flag_is_refused(demo, tmp_path):
    _, _, command = demo
    arguments = ["demo", "--dir", str(tmp_path / "demo"), "--set", "time.zone=UTC"]
    command.refused(*arguments, code=1, says=["time.zone", "isobar.toml"])


def test_a_second_demo_in_the_same_directory_is_fine(demo):
    _, directory, command = demo
    command.ok("demo", "--once", "--dir", str(directory))
    records = exported(directory)
    oracle.compare_daily(delta.rows(lake_of(directory), DAILY_TABLE), oracle.daily_weather_by_city(records))


def test_the_simulated_weather_is_the_same_everywhere(demo, tmp_path):
    """Deterministic: two first runs export the same messages."""
    _, directory, command = demo
    command.ok("demo", "--once", "--dir", str(tmp_path / "again"))
    first = {record.identity: record.value for record in exported(directory)}
    again = {record.identity: record.value for record in exported(tmp_path / "again")}
    assert again and all(first.get(identity) == value for identity, value in again.items())
