"""Random statements over random tables, with a fixed seed: seconds here, minutes with the full counts. `make fuzz-sql` has any.

docs/adr/0025-random-statements-test-sql.md says how they are judged.
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
def test_no_difference_is_unexplained(isobar, tmp_path, seed):
    verdict = fuzz(str(isobar), tmp_path, seed, SIZES[seed], known.lines())
    print(verdict.report(seed))
    assert not verdict.unexplained, verdict.report(seed)
    assert verdict.without_oracle < verdict.judged / 50


def test_known_differences_are_still_ones(isobar, tmp_path):
    """The list gets shorter: a line whose statement is answered rightly must go."""
    shell = Isobar(str(isobar), tmp_path, {"ISOBAR__LAKE__URL": f"file://{tmp_path}/lake"})
    assert not [line.pattern for line in known.lines() if is_right(shell, line)]


def is_right(shell: Isobar, line: known.Line) -> bool:
    outcome = shell.run("sql", "--format", "json", "-c", line.statement)
    found = [list(json.loads(row).values()) for row in outcome.stdout.splitlines()]
    return outcome.code == 0 and not answers.difference([*map(tuple, found)], [*map(tuple, line.right)])
