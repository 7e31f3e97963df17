"""Words of our own that the field has a better one for: `tests/terms.tsv` lists them, and none may come back.

An identifier is looked for as it is written, in the Rust sources. Prose is looked for in whatever case, in sources, tests
and documents; a word in quotes or backticks is meant, not used.
"""

import re

import pytest

from support.binary import REPOSITORY

LINES = (REPOSITORY / "tests/terms.tsv").read_text().splitlines()
TERMS = [line.split("\t") for line in LINES[1:]]
PATTERNS = {"identifier": ["*/**/*.rs"], "prose": ["*/**/*.rs", "*.md", "docs/**/*.md", "*.toml", "queries/**/*.sql", "benches/*.py"]}
QUOTED = re.compile(r"\"[^\"\n]*\"|`[^`\n]*`")


@pytest.fixture(scope="module")
def texts():
    found = {kind: {path for pattern in patterns for path in REPOSITORY.glob(pattern)} for kind, patterns in PATTERNS.items()}
    read = {}
    for kind, paths in found.items():
        kept = sorted(path for path in paths if "target" not in path.parts)
        assert len(kept) > 200
        read[kind] = {path: path.read_text() for path in kept}
    return read


@pytest.mark.parametrize(("term", "kind", "better"), TERMS, ids=[term for term, _, _ in TERMS])
def test_term_of_our_own_stands_nowhere(texts, term, kind, better):
    flags = re.IGNORECASE if kind == "prose" else 0
    word = re.compile(rf"\b{re.escape(term)}\b", flags)
    hits = []
    for path, text in texts[kind].items():
        for number, line in enumerate(text.splitlines(), 1):
            if word.search(QUOTED.sub("", line) if kind == "prose" else line):
                hits.append(f"{path.relative_to(REPOSITORY)}:{number}")
    assert not hits, f"{term!r} has a better word: {better}"


def test_terms_are_listed_once_and_in_order():
    names = [term.lower() for term, _, _ in TERMS]
    assert names == sorted(names) and len(LINES) == len(set(LINES))
    assert {kind for _, kind, _ in TERMS} == set(PATTERNS)
