"""Private words that have a standard term: `tests/terms.tsv` has the number of each in the Rust sources.

The number of a word only falls. A change that removes some lowers it. At 0 the word stays in the list, so that it does not return.
"""

import re
from collections import Counter

import pytest

from support.binary import REPOSITORY

LINES = (REPOSITORY / "tests/terms.tsv").read_text().splitlines()
TERMS = [line.split("\t") for line in LINES[1:]]


@pytest.fixture(scope="module")
def words() -> Counter:
    sources = [path for path in REPOSITORY.glob("*/**/*.rs") if "target" not in path.parts]
    assert len(sources) > 200
    return Counter(word for path in sources for word in re.findall(r"\w+", path.read_text()))


@pytest.mark.parametrize(("term", "better", "left"), TERMS, ids=[term for term, _, _ in TERMS])
def test_term_of_our_own_gets_rarer(words, term, better, left):
    assert words[term] == int(left), f"{term!r} stands {words[term]} times, {left} in tests/terms.tsv; write {better}"


def test_terms_are_listed_once_and_in_order():
    names = [term.lower() for term, _, _ in TERMS]
    assert names == sorted(names) and len(LINES) == len(set(LINES))
