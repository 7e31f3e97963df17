"""No test is lost when code moves: each listed one is there or stands in tests/renamed.tsv.

tests/test_names.txt has the tests of commit c6d099f, tests/test_names_added.txt those that came
later, up to 9ac8995. A line of renamed.tsv is the old name, the new name and a reason. Both names
may be those of files: then their tests moved along, and a file that was split has a line for each
part. An empty new name says that the test went with what it tested. That needs its reason, and so
does a new name that stands for several old ones.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest

from support.listed_tests import names_of_tests, python_tests, rust_tests

ROOT = Path(__file__).resolve().parents[2]


def faults(listed, renamed, present):
    """What is wrong with the rows of renamed.tsv, and the listed tests that are lost."""
    listed, present = set(listed), set(present)
    files = {name.split("::")[0] for name in present}
    moved = {}
    for old, new, _ in renamed:
        moved.setdefault(old, []).append(new)
    targets = Counter(new for _, new, _ in renamed if "::" in new)
    for old, new, reason in renamed:
        if old not in listed and not any(name.startswith(f"{old}::") for name in listed):
            yield f"renamed.tsv: no list has {old}"
        if old in present:
            yield f"renamed.tsv: {old} is still there"
        if new and new not in present | files:
            yield f"renamed.tsv: there is no {new}, which {old} should have become"
        if not reason and (not new or targets[new] > 1):
            yield f"renamed.tsv: {old} needs a reason"
    for name in sorted(listed - present - moved.keys()):
        file, _, function = name.partition("::")
        if not any(f"{new}::{function}" in present for new in moved.get(file, [])):
            yield f"lost: {name}"


def test_listed_test_exists_or_is_renamed():
    lists = ["tests/test_names.txt", "tests/test_names_added.txt"]
    listed = [name for file in lists for name in (ROOT / file).read_text().splitlines()]
    with open(ROOT / "tests/renamed.tsv", newline="") as file:
        header, *renamed = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    assert header == ["old", "new", "reason"]
    found = faults(listed, [(row + ["", ""])[:3] for row in renamed], names_of_tests(ROOT))
    assert not list(found)


@pytest.mark.parametrize(
    ("renamed", "expected"),
    [
        ([], ["lost: a.rs::x", "lost: a.rs::y"]),
        ([("a.rs", "b.rs", "")], ["lost: a.rs::y"]),
        ([("a.rs", "b.rs", ""), ("a.rs", "c.rs", "")], []),
        ([("a.rs", "b.rs", ""), ("a.rs::y", "b.rs::z", "")], []),
        ([("a.rs", "b.rs", ""), ("a.rs::y", "", "")], ["renamed.tsv: a.rs::y needs a reason"]),
        ([("a.rs", "b.rs", ""), ("a.rs::y", "", "Its function is gone.")], []),
        (
            [("a.rs::x", "b.rs::x", ""), ("a.rs::y", "b.rs::x", "")],
            ["renamed.tsv: a.rs::x needs a reason", "renamed.tsv: a.rs::y needs a reason"],
        ),
        (
            [("a.rs", "b.rs", ""), ("a.rs::y", "b.rs::q", "")],
            ["renamed.tsv: there is no b.rs::q, which a.rs::y should have become"],
        ),
        (
            [("a.rs", "c.rs", ""), ("a.rs", "b.rs", ""), ("k.rs::k", "b.rs::z", ""), ("n.rs::n", "b.rs::x", "")],
            ["renamed.tsv: k.rs::k is still there", "renamed.tsv: no list has n.rs::n"],
        ),
    ],
)
def test_lost_test_or_wrong_line_is_named(renamed, expected):
    listed = ["a.rs::x", "a.rs::y", "k.rs::k"]
    present = ["b.rs::x", "b.rs::z", "c.rs::y", "k.rs::k"]
    assert list(faults(listed, renamed, present)) == expected


def test_tests_are_read_from_sources():
    rust = """
    #[test]
    fn a_plain_one() {}
    /// #[test]
    fn no_test() {}
        #[tokio::test(flavor = "multi_thread")]
        // Why.
        #[expect(clippy::too_many_lines, reason = "one (long) story")]
        async fn one_with_attributes() {}
    """
    assert rust_tests(rust, "a.rs") == ["a_plain_one", "one_with_attributes"]
    assert python_tests("def test_x(): pass\ndef helper(): pass\nTEST = 1\n") == ["test_x"]
