"""Faults of HDFS: every command ends within half a minute, and names the failure, the server and the remedy."""

import socket
from contextlib import contextmanager

import pytest

from support.fixtures import LONG, everything
from support.lake import DAILY, Lake
from support.places import host_and_port
from support.weather_data import CITIES, build, date

LIMIT_S = 30
WHERE = [r"localhost:\d+|127\.0\.0\.1:\d+", "ISOBAR__LAKE__URL|HDFS_URL"]
COUNT = "SELECT count(DISTINCT temp) AS n FROM weather"


@contextmanager
def frozen(stack, server: str):
    """A stopped server, which accepts connections and does not respond."""
    stack.stop(server)
    try:
        yield
    finally:
        stack.restore()  # waits until it serves again


@contextmanager
def safe_mode(stack):
    stack.safemode(True)
    try:
        yield
    finally:
        stack.restore()


@pytest.fixture
def lake(lakes) -> Lake:
    return lakes.landed("hdfs")


READS = {
    "sql": ["sql", "-c", COUNT],
    "run": ["run", DAILY, "--all"],
    "table list": ["table", "list"],
    "table describe": ["table", "describe", "weather"],
    "check": ["check"],
}


def lake_elsewhere(lake: Lake, address: str):
    path = lake.place.lake_url.split("/", 3)[3]
    return lake.isobar.having(ISOBAR__LAKE__URL=f"hdfs://{address}/{path}")


@pytest.mark.parametrize("arguments", READS.values(), ids=READS.keys())
def test_unused_port_is_reported(lake, arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    isobar = lake_elsewhere(lake, f"localhost:{port}")
    isobar.refused(*arguments, code=1, says=[f"localhost:{port}", WHERE[1]], within_s=LIMIT_S)


def test_unused_port_fails_a_landing(lake, tmp_path):
    (tmp_path / "one.json").write_bytes(next(iter(everything().files.values())))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    isobar = lake_elsewhere(lake, f"localhost:{port}")
    land = ["land", "--from", "files", str(tmp_path / "one.json"), "--once"]
    isobar.refused(*land, code=1, says=[f"localhost:{port}", WHERE[1]], within_s=LIMIT_S)


def test_silent_server_is_reported(lake):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        isobar = lake_elsewhere(lake, f"localhost:{port}")
        isobar.refused("sql", "-c", COUNT, code=1, says=[f"localhost:{port}", WHERE[1]], within_s=LIMIT_S)


def test_port_of_another_protocol_is_reported(lake, stack):
    """A frequent mistake: the HTTP port instead of the RPC port."""
    _, port = host_and_port(stack.http_url)
    isobar = lake_elsewhere(lake, f"localhost:{port}")
    isobar.refused("sql", "-c", COUNT, code=1, says=[f"localhost:{port}", WHERE[1]], within_s=LIMIT_S)


def test_unknown_host_is_reported(lake):
    isobar = lake_elsewhere(lake, "no-such-host.invalid:8020")
    isobar.refused("sql", "-c", COUNT, code=1, says=["no-such-host.invalid", WHERE[1]], within_s=LIMIT_S)


# Each takes as long as the configured time limits, so the short test has two.
FROZEN = READS if LONG else {name: READS[name] for name in ["sql", "check"]}


@pytest.mark.parametrize("arguments", FROZEN.values(), ids=FROZEN.keys())
def test_stopped_namenode_is_reported(lake, stack, arguments):
    with frozen(stack, "namenode"):
        lake.isobar.refused(*arguments, code=1, says=WHERE, within_s=LIMIT_S)


def test_stopped_namenode_fails_a_landing(lakes, stack, tmp_path):
    lake = lakes.new("hdfs")
    (tmp_path / "one.json").write_bytes(next(iter(build([date(2026, 1, 15)], CITIES[:1]).files.values())))
    land = ["land", "--from", "files", str(tmp_path / "one.json"), "--once"]
    with frozen(stack, "namenode"):
        lake.isobar.refused(*land, code=1, says=WHERE, within_s=LIMIT_S)
    assert lake.place.names("lake") == []


def test_datanode_stopped_while_reading_is_reported(lake, stack):
    with frozen(stack, "datanode"):
        lake.isobar.refused("sql", "-c", COUNT, code=1, says=WHERE, within_s=LIMIT_S)
    assert lake.isobar.scalar(COUNT) > 0


def test_datanode_stopped_while_writing_is_reported(lakes, stack, tmp_path):
    """The landing fails and names the DataNode. A repeated landing completes without duplicates."""
    lake = lakes.new("hdfs")
    export = build([date(2026, 1, 15)], CITIES[:1], malformed=["cut short"])
    for path, data in export.files.items():
        (tmp_path / path.replace("/", "_")).write_bytes(data)
    land = ["land", "--from", "files", str(tmp_path), "--once"]
    with frozen(stack, "datanode"):
        lake.isobar.refused(*land, code=1, says=WHERE, within_s=LIMIT_S)
    lake.isobar.ok(*land)
    assert lake.identities() == sorted(record.identity for record in export.records)
    assert len(lake.rows("dead_letters")) == 1


def test_datanode_killed_while_writing_is_reported(lakes, stack, tmp_path):
    """The port of the DataNode is closed, and the NameNode does not know yet. The error must not blame the NameNode."""
    lake = lakes.new("hdfs")
    export = build([date(2026, 1, 15)], CITIES[:1])
    for path, data in export.files.items():
        (tmp_path / path.replace("/", "_")).write_bytes(data)
    land = ["land", "--from", "files", str(tmp_path), "--once"]
    stack.kill("datanode")
    try:
        says = ["check that its DataNodes run", WHERE[0]]
        outcome = lake.isobar.refused(*land, code=1, says=says, within_s=LIMIT_S)
    finally:
        stack.restore()
    assert "check that its NameNode runs" not in outcome.stderr
    lake.isobar.ok(*land)
    assert lake.identities() == sorted(record.identity for record in export.records)


def test_safe_mode_is_named_by_a_refused_write(lakes, stack):
    lake = lakes.new("hdfs")
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake.put(export.files)
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    with safe_mode(stack):
        lake.isobar.refused(*land, code=1, says=["safe ?mode", *WHERE], within_s=LIMIT_S)
    lake.land()
    lake.must_have_landed(export.records, [])


def test_safe_mode_allows_reads(lake, stack):
    with safe_mode(stack):
        assert lake.isobar.scalar("SELECT count(*) AS n FROM weather") == len(everything().records)


def test_missing_permission_on_hdfs_is_named(lakes):
    lake = lakes.new("hdfs")
    lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
    nobody = lake.isobar.having(HDFS_USER="somebody")
    land = ["land", "--from", "files", lake.place.export_url, "--once"]
    nobody.refused(*land, code=1, says=["permission", "somebody", "HDFS_USER"], within_s=LIMIT_S)
    assert lake.place.names("lake") == []
