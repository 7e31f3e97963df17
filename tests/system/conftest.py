"""The fixtures of the system tests: the binary and the servers. Both are required: no test of this directory skips."""

import os
from pathlib import Path

import pytest

from stack import LOGS_OF_FAILURE, session

pytest_plugins = ["support.fixtures", "support.figures"]
# Spark is half a gigabyte: only the full counts fetch it.
collect_ignore = [] if os.environ.get("ISOBAR_TEST_LONG") == "1" else ["test_spark_tables.py"]


@pytest.fixture(scope="session")
def isobar():
    """The binary under test."""
    path = os.environ.get("ISOBAR_BIN")
    if not path or not os.access(path, os.X_OK):
        pytest.fail(f"ISOBAR_BIN={path or ''} is no executable file: run the tests with `make test`", pytrace=False)
    return Path(path)


@pytest.fixture(scope="session")
def stack(request):
    """The stack of servers, started once for the session with HDFS. The fixtures below start further servers."""
    with session() as running:
        yield running
        if request.session.testsfailed:
            running.keep_logs()


@pytest.fixture(scope="session")
def kafka(stack):
    """Kafka, started at the first use; the variables for its clients (BOOTSTRAP_SERVERS)."""
    stack.start("kafka")
    return stack.variables("kafka")


@pytest.fixture(scope="session")
def hbase(stack):
    """HBase and its Thrift server, likewise (HBASE_HOST, HBASE_PORT). It has namespace "weather" only, and no table."""
    stack.start("hbase", "thrift")
    return stack.variables("thrift")


@pytest.fixture(scope="session")
def postgres(stack):
    """PostgreSQL, likewise (POSTGRES_HOST, _PORT, _DB, _USER, _PASSWORD). The database exists and is empty."""
    stack.start("postgres")
    return stack.variables("postgres")


@pytest.fixture(autouse=True)
def _undisturbed(request):
    """Restores the servers after each test, also after a failed one."""
    yield
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").restore()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped itself, which a system test must not do"
    return report


def pytest_terminal_summary(terminalreporter, exitstatus):
    if exitstatus:
        terminalreporter.write_line(f"The servers' logs: {LOGS_OF_FAILURE}")
