"""What scripts rely on changes on purpose alone: allowed.txt gives each difference its reason.

`fixtures/interface` has what the binary of commit c6d099f answered, a file for each kind of fact, which
`fixtures/make_interface.py` wrote. A line of allowed.txt is `+ kind: fact  # reason` for what is new,
and `- kind: fact  # reason` for what is gone.
"""

import re
from pathlib import Path

import pytest

from support.binary import REPOSITORY
from support.interface import ALONE, WITH_SERVERS, Subject, differences

FACTS = Path(__file__).parent / "fixtures/interface"


@pytest.fixture(scope="module")
def subject(isobar, tmp_path_factory) -> Subject:
    return Subject(isobar, REPOSITORY / "queries", tmp_path_factory.mktemp("interface"))


def allowed() -> dict[str, set[str]]:
    """By kind of fact, what may be different."""
    found: dict[str, set[str]] = {}
    for line in (FACTS / "allowed.txt").read_text().splitlines():
        parts = re.fullmatch(r"([+-]) (\w+): (.+?)  # \S.*", line)
        assert parts, f"allowed.txt: no sign, kind, fact and reason: {line}"
        found.setdefault(parts[2], set()).add(f"{parts[1]} {parts[3]}")
    return found


def must_differ_as_allowed(kind: str, facts) -> None:
    expected = set((FACTS / f"{kind}.txt").read_text().splitlines())
    found, may = differences(expected, set(facts)), allowed().get(kind, set())
    assert sorted(found - may) == [], "these changes of the interface are not allowed"
    assert sorted(may - found) == [], "these lines of allowed.txt are no difference any more"


@pytest.mark.parametrize("kind", ALONE)
def test_what_needs_no_server_is_as_before(subject, kind):
    """Commands, configuration, exit codes, output, columns, names in the lake, services."""
    must_differ_as_allowed(kind, ALONE[kind](subject))


@pytest.mark.parametrize("kind", WITH_SERVERS)
def test_what_needs_kafka_and_postgresql_is_as_before(subject, kind, kafka, postgres):
    """Metrics and pages of the other services, and the tables in PostgreSQL."""
    must_differ_as_allowed(kind, WITH_SERVERS[kind](subject, kafka, postgres))


def test_allowed_lines_are_of_a_kind_of_fact():
    """A line under a mistyped kind would never be looked at."""
    assert allowed().keys() <= ALONE.keys() | WITH_SERVERS.keys()
