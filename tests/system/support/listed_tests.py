"""The names of the tests of a checkout, read from its sources: nothing is compiled or imported.

`scripts/python tests/system/support/listed_tests.py CHECKOUT` prints them, one a line, sorted.
"""

import ast
import re
import sys
from pathlib import Path

# An attribute #[test] or #[tokio::test(…)], attributes and comments behind it, and the function.
RUST_TEST = re.compile(
    r"^[ \t]*\#\[(?:tokio::)?test(?:\([^\]]*\))?\]\s*"
    r"(?:(?:\#\[[^\n]*\]|//[^\n]*)\s*)*"
    r"(?:pub(?:\([a-z]+\))?\s+)?(?:async\s+)?fn\s+(\w+)",
    re.MULTILINE,
)
RUST_ATTRIBUTE = re.compile(r"^[ \t]*\#\[(?:tokio::)?test\b", re.MULTILINE)


def names_of_tests(checkout):
    """Each test as `path of its file::name of its function`; a golden test is its file alone."""
    checkout = Path(checkout)
    names = []
    for path in sorted(sources(checkout)):
        file = path.relative_to(checkout).as_posix()
        if path.suffix == ".slt":
            names.append(file)
        elif path.suffix == ".rs":
            names += [f"{file}::{name}" for name in rust_tests(path.read_text(), file)]
        else:
            names += [f"{file}::{name}" for name in python_tests(path.read_text())]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"two tests of one file have one name: {sorted(twice)}"
    return sorted(names)


def sources(checkout):
    """Every file that can have tests; hidden and built files are skipped."""
    for path in checkout.rglob("*"):
        parts = path.relative_to(checkout).parts
        if parts[0] == "target" or any(part.startswith(".") for part in parts):
            continue
        if path.suffix in (".rs", ".slt") or (path.match("test_*.py") and parts[:2] == ("tests", "system")):
            yield path


def rust_tests(text, file):
    """The names of the functions with a test attribute, in their order."""
    names = RUST_TEST.findall(text)
    assert len(names) == len(RUST_ATTRIBUTE.findall(text)), f"{file}: a test attribute stands before no function"
    return names


def python_tests(text):
    """The names of the functions that pytest collects, in their order."""
    functions = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if function.name.startswith("test")]


if __name__ == "__main__":
    print(*names_of_tests(sys.argv[1]), sep="\n")
