"""The structure of the Rust sources: no circles between modules, one meaning for each type name, folders by idea."""

from collections import defaultdict

import pytest

from support.binary import REPOSITORY
from support.rust_modules import circles, crates, expanded, imports, types

CRATES = crates(REPOSITORY)
NAMES = [src.parent.name for src in CRATES]

# Names that a crate may define more than once: each module has one of its own.
SHARED = {"Error", "Result", "Metrics", "Options"}

FILES_MAX = 12


def test_all_crates_are_found():
    assert {"cli", "engine", "flight-server", "ingest", "lake", "jobs"} <= set(NAMES)


@pytest.mark.parametrize("src", CRATES, ids=NAMES)
def test_modules_of_a_crate_import_in_one_direction(src):
    assert circles(imports(src)) == []


@pytest.mark.parametrize("src", CRATES, ids=NAMES)
def test_type_name_stands_once_in_a_crate(src):
    modules = defaultdict(list)
    for name, module in types(src):
        modules[name].append(module)
    twice = {name: found for name, found in modules.items() if len(found) > 1 and name not in SHARED}
    assert twice == {}


def test_folder_holds_few_files():
    folders = {folder for src in CRATES for folder in [src, *src.rglob("*")] if folder.is_dir()}
    counts = {folder.relative_to(REPOSITORY).as_posix(): count(folder) for folder in folders}
    large = {folder: files for folder, files in counts.items() if files > FILES_MAX}
    assert large == {}


def count(folder) -> int:
    return sum(file.name not in ("mod.rs", "lib.rs", "main.rs") for file in folder.glob("*.rs"))


def test_circle_is_found_through_other_modules():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert circles(edges) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_use_tree_is_expanded():
    paths = expanded("crate::{a::{self, B as C}, d::E}")
    assert list(paths) == [("crate", "a", "self"), ("crate", "a", "B"), ("crate", "d", "E")]


def test_comments_wrap_at_100_columns():
    wide = []
    for src in CRATES:
        for file in src.parent.rglob("*.rs"):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                # A table or an address cannot be wrapped.
                if len(line) > 100 and line.lstrip().startswith("//") and "| " not in line and "://" not in line:
                    wide.append(f"{file.relative_to(REPOSITORY)}:{number}")
    assert wide == []
