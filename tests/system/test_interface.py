"""The interface on which scripts rely changes only on purpose: allowed.txt has the reason of each difference.

`fixtures/interface` has the facts of the binary of commit c6d099f, a file for each kind, which
`fixtures/make_interface.py` wrote. A line of allowed.txt is `+ kind: fact  # reason` for a new fact,
and `- kind: fact  # reason` for a removed one.
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
    """The allowed differences by kind of fact."""
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
def test_interface_without_servers_is_unchanged(subject, kind):
    """Commands, configuration, exit codes, output, columns, names in the lake, services."""
    must_differ_as_allowed(kind, ALONE[kind](subject))


@pytest.mark.parametrize("kind", WITH_SERVERS)
def test_interface_with_servers_is_unchanged(subject, kind, kafka, postgres):
    """Metrics and pages of the other services, and the tables in PostgreSQL."""
    must_differ_as_allowed(kind, WITH_SERVERS[kind](subject, kafka, postgres))


def test_allowed_lines_have_a_known_kind():
    """A line with a mistyped kind would never be used."""
    assert allowed().keys() <= ALONE.keys() | WITH_SERVERS.keys()
