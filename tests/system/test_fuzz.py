"""Random statements over random tables, with a fixed seed: seconds here, minutes with the full counts. `make fuzz-sql` takes any seed.

docs/adr/0025-random-statements-test-sql.md says how they are compared.
"""

import json

import pytest

from fuzz import known
from fuzz.run import Size, fuzz
from support import answers
from support.binary import Isobar
from support.fixtures import LONG

SIZES = {1: Size(3000, 400, 100), 2: Size(3000, 400, 0), 3: Size(3000, 400, 0)} if LONG else {1: Size(100, 12, 2)}


@pytest.mark.parametrize("seed", SIZES)
def test_differences_are_explained_by_known_ones(isobar, tmp_path, seed):
    findings = fuzz(str(isobar), tmp_path, seed, SIZES[seed], known.lines())
    print(findings.report(seed))
    assert not findings.unexplained, findings.report(seed)
    assert findings.without_oracle < findings.compared / 50


def test_known_differences_still_exist(isobar, tmp_path):
    """A line whose statement has the right rows must be removed."""
    shell = Isobar(str(isobar), tmp_path, {"ISOBAR__LAKE__URL": f"file://{tmp_path}/lake"})
    assert not [line.pattern for line in known.lines() if is_right(shell, line)]


def is_right(shell: Isobar, line: known.Line) -> bool:
    outcome = shell.run("sql", "--format", "json", "-c", line.statement)
    found = [list(json.loads(row).values()) for row in outcome.stdout.splitlines()]
    return outcome.code == 0 and not answers.difference([*map(tuple, found)], [*map(tuple, line.right)])
