"""`isobar demo`: the printed table, files and commands, and the service; Python recomputes the figures."""

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
from support.binary import TIMEOUT_S, Isobar
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
    """The records of the export files of the demo. Its days have no repeated hour."""
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


def test_tables_match_the_export_files_of_the_demo(demo, figures):
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


def test_aggregates_are_published_for_each_day_of_the_demo(demo):
    _, directory, _ = demo
    records = exported(directory)
    for day in {record.day for record in records}:
        [file] = directory.rglob(f"dt={day}/aggregates.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        oracle.compare_daily(rows, oracle.daily_weather_by_city(records, day))


def test_demo_prints_table_files_and_three_commands(demo):
    outcome, directory, _ = demo
    assert "Paris" in outcome.stdout and "temp_avg" in outcome.stdout
    shown = [word for word in re.findall(r"\S+", outcome.stdout) if str(directory) in word]
    paths = [word.removeprefix("file://").strip(".,:;()|") for word in shown]
    assert any(Path(path).exists() for path in paths), outcome.stdout
    assert len(offered(outcome.stdout)) == 3
    assert re.search(r"\d+(\.\d+)? ?m?s\b", outcome.stdout + outcome.stderr), "no time taken"


def offered(text: str) -> list[list[str]]:
    """The commands that the demo prints: lines that begin with variables and `isobar`."""
    lines = [line.strip().removeprefix("$ ") for line in text.splitlines()]
    return [shlex.split(line) for line in lines if re.match(r"([A-Z_]+=\S+ )*(\S*/)?isobar ", line)]


def test_printed_commands_work(demo):
    outcome, _, command = demo
    for words in offered(outcome.stdout):
        variables = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
        arguments = words[len(variables) + 1 :]
        command.having(**variables).ok(*arguments)


FREE = ["--set", "serve.flight_listen=127.0.0.1:0", "--set", "serve.http_listen=127.0.0.1:0"]


def test_demo_without_once_serves_and_prints_working_commands(demo):
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
        assert process.wait(timeout=TIMEOUT_S) == 0
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
    """The printed lines for another shell: one each for isobar, Python and curl."""
    lines = []
    for line in stdout:
        if re.match(r"  (\S*/)?(isobar|python3|curl) ", line):
            lines.append(line.strip())
        if len(lines) == 3:
            return lines
    raise AssertionError(f"it ended, and said no more than {lines}")


def copied(line: str, command: Isobar) -> str:
    """The output of the line in a shell with the Python of the tests."""
    python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=command.directory,
        env=command.environment() | {"PATH": python},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{line}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("key", ["serve.flight_listen", "serve.http_listen"])
def test_occupied_address_is_named_before_the_work(demo, tmp_path, key):
    _, _, command = demo
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["demo", "--dir", str(tmp_path / "demo"), *FREE, "--set", f"{key}={address}"]
        command.refused(*arguments, code=1, says=[key, address, "--once", f"--set {key}="])
    assert not (tmp_path / "demo" / "weather").exists()


def test_unsupported_flag_of_the_demo_is_refused(demo, tmp_path):
    _, _, command = demo
    arguments = ["demo", "--dir", str(tmp_path / "demo"), "--set", "time.zone=UTC"]
    command.refused(*arguments, code=1, says=["time.zone", "isobar.toml"])


def test_second_demo_in_the_same_directory_succeeds(demo):
    _, directory, command = demo
    command.ok("demo", "--once", "--dir", str(directory))
    records = exported(directory)
    oracle.compare_daily(delta.rows(lake_of(directory), DAILY_TABLE), oracle.daily_weather_by_city(records))


def test_simulated_weather_is_deterministic(demo, tmp_path):
    """Deterministic: two first runs export the same messages."""
    _, directory, command = demo
    command.ok("demo", "--once", "--dir", str(tmp_path / "again"))
    first = {record.identity: record.value for record in exported(directory)}
    again = {record.identity: record.value for record in exported(tmp_path / "again")}
    assert again and all(first.get(identity) == value for identity, value in again.items())
