"""The command line: exit codes, logs and colours, interruption, completions, listings."""

import json
import re
import signal
import subprocess
import time

import pytest

from support import delta
from support.binary import Terminal
from support.columns import TABLES
from support.lake import DAILY
from support.weather_data import CITIES, build, date, day_range

ESCAPE = "\x1b["
COMMANDS = ["demo", "land", "run", "query", "sql", "table", "config", "check", "completions"]


@pytest.fixture
def lake(lakes):
    return lakes.landed("local")


def test_version_and_help_go_to_stdout(lake):
    assert re.fullmatch(r"isobar \d+\.\d+\.\d+.*\n", lake.isobar.ok("--version").stdout)
    text = lake.isobar.ok("--help").stdout
    assert all(re.search(rf"\b{command}\b", text) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(lake, command):
    text = lake.isobar.ok(command, "--help").stdout
    assert re.search("examples?:", text, re.IGNORECASE) and f"isobar {command}" in text


def small(lakes, **variables):
    lake = lakes.new("local", **variables)
    lake.put(build([date(2026, 1, 15)], CITIES[:1], malformed=["cut short"]).files)
    return lake


def test_logs_are_json_lines_without_a_terminal(lakes):
    lake = small(lakes)
    for arguments in [["land", "--from", "files", lake.place.export_url, "--once"], ["run", DAILY, "--all"]]:
        lines = lake.isobar.ok(*arguments).stderr.splitlines()
        assert lines
        for line in lines:
            assert {"timestamp", "level"} <= json.loads(line).keys(), line


def test_debug_logs_do_not_show_secrets(lakes):
    """`Isobar.run` searches the output for the secrets."""
    lake = lakes.new("local", ISOBAR__LOG__LEVEL="trace")
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    assert lake.isobar.land(lake.place.export_url).stderr


def test_logs_are_text_on_a_terminal(lakes):
    lake = small(lakes)
    with Terminal(lake.isobar, "land", "--from", "files", lake.place.export_url, "--once") as terminal:
        code, screen = terminal.wait()
    assert code == 0, screen
    assert screen.strip()
    assert not any(line.strip().startswith("{") for line in screen.splitlines()), screen


def test_no_color_disables_colours(lakes):
    """No escape sequence sets a colour; a progress bar may still move the cursor."""
    lake = small(lakes, NO_COLOR="1")
    for arguments in [
        ["land", "--from", "files", lake.place.export_url, "--once"],
        ["run", DAILY, "--all"],
        ["sql", "-c", "SELECT no_such_column FROM weather"],
        ["config", "show"],
    ]:
        with Terminal(lake.isobar, *arguments) as terminal:
            _, screen = terminal.wait()
        assert not re.search(r"\x1b\[[\d;]*m", screen), screen


def test_output_has_no_colours_without_a_terminal(lakes):
    lake = small(lakes)
    for arguments in [
        ["land", "--from", "files", lake.place.export_url, "--once"],
        ["run", DAILY, "--all"],
        ["nonsense"],
    ]:
        outcome = lake.isobar.run(*arguments)
        assert ESCAPE not in outcome.stdout + outcome.stderr


def test_stdout_has_results_only(lake):
    assert lake.isobar.ok("sql", "--format", "csv", "-c", "SELECT 1 AS one").stdout.split() == ["one", "1"]


def test_closed_pipe_is_not_a_failure(lake):
    """`isobar sql … | head -1` neither panics nor fails."""
    isobar = lake.isobar
    shell = [
        "bash",
        "-c",
        '"$0" sql --format csv -c "SELECT * FROM weather" | head -1; exit ${PIPESTATUS[0]}',
        isobar.binary,
    ]
    done = subprocess.run(shell, cwd=isobar.directory, env=isobar.environment(), capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(b"dt,")
    assert b"panicked" not in done.stderr


@pytest.mark.parametrize(
    "options, number, code",
    [(["--once"], signal.SIGINT, 130), (["--once"], signal.SIGTERM, 130), ([], signal.SIGTERM, 0)],
    ids=["once-SIGINT", "once-SIGTERM", "watching-SIGTERM"],
)
def test_landing_commits_on_a_signal(lakes, kind, options, number, code):
    """A landing with `--once` is interrupted, and a service shuts down."""
    lake = lakes.new(kind, ISOBAR__LAND__ROWS_MAX="100")
    export = build(day_range(date(2026, 1, 1), 5), CITIES[:2], malformed=["no weather"], file_hours=3)
    lake.put(export.files)
    process = lake.isobar.start("land", "--from", "files", lake.place.export_url, *options)
    deadline = time.monotonic() + 120
    while delta.versions_seen(lake.place, "weather") < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    lake.land()
    lake.must_have_landed(export.records, export.bad)


def test_interrupted_query_exits_with_130(lake):
    endless = "SELECT count(*) FROM generate_series(1, 1000000000000) AS t (n) WHERE n % 7 = 8"
    process = lake.isobar.start("sql", "-c", endless)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_printed_for_each_shell(lake, shell):
    assert "isobar" in lake.isobar.ok("completions", shell).stdout


def test_completions_work_in_bash(lake):
    """A real bash sources the completions and completes `isobar ru`."""
    script = lake.isobar.ok("completions", "bash").stdout
    ask = 'COMP_WORDS=(isobar ru) COMP_CWORD=1; _isobar isobar ru isobar; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout.split()


def test_table_list_has_all_tables(lakes, kind):
    text = lakes.landed(kind).isobar.ok("table", "list").stdout
    assert all(re.search(rf"\b{name}\b", text) for name in TABLES)


@pytest.mark.parametrize(("name", "columns"), TABLES.items())
def test_table_describe_has_all_columns(lakes, kind, name, columns):
    text = lakes.landed(kind).isobar.ok("table", "describe", name).stdout
    missing = [column for column in columns if not re.search(rf"\b{column}\b", text)]
    assert missing == []


def test_query_list_and_check(lake):
    assert DAILY in lake.isobar.ok("query", "list").stdout
    lake.isobar.ok("query", "check")


def test_check_reports_working_connections(lakes, kind):
    lake = lakes.landed(kind)
    outcome = lake.isobar.ok("check")
    assert lake.place.lake_url.split("://")[0] in outcome.stdout


def test_check_succeeds_before_the_lake_exists(lakes, kind):
    """Before the first landing the lake does not exist, which is not an error."""
    lakes.new(kind).isobar.ok("check")
