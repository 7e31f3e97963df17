"""The binary of an older commit continues what the binary under test has written: a rollback.

`tests/compatibility COMMIT` runs this file, whose name keeps it out of other runs. The tests are
those of `test_persisted_forms.py`, with writer and reader exchanged. What an older commit refuses is
listed by name, and must be refused as it says.
"""

import functools
import os
from pathlib import Path

import pytest

import test_persisted_forms
from support.binary import REPOSITORY
from support.persisted import Kept, Release, write
from test_persisted_forms import lake, pipeline  # noqa: F401

# The tables in PostgreSQL have version 4 since then.
NEWER_TABLES = "are of version 4, and this isobar knows versions up to 3"
# The query has a column `place_id` since then. The older binary continues with the newer query file.
NEWER_QUERY = "has a column .+place_id.+ that its declaration lacks"
# Expected refusals by commit.
REFUSED = {
    "c6d099fd30a6": {
        "test_cells_next_run_leaves_those_of_the_table": NEWER_QUERY,
        "test_consumed_topic_consumer_goes_on_at_its_positions": NEWER_TABLES,
        "test_exported_rows_exporter_goes_on_behind_them": NEWER_TABLES,
        "test_landed_topic_landing_from_postgresql_goes_on_at_its_positions": NEWER_TABLES,
        "test_published_days_new_day_is_published_beside_them": NEWER_QUERY,
        "test_published_days_run_again_are_stale_once_if_their_query_changed": NEWER_QUERY,
    },
}


@pytest.fixture(scope="module")
def kept(isobar, stack, kafka, postgres, hbase, tmp_path_factory) -> Kept:
    """The forms that the binary under test writes."""
    directory = tmp_path_factory.mktemp("kept")
    write(Release(isobar, REPOSITORY / "queries"), directory / "kept", directory, stack)
    return Kept(directory / "kept")


@pytest.fixture(scope="module")
def reader() -> Release:
    """The older binary, with its own query files."""
    binary, queries = (Path(os.environ[name]) for name in ["ISOBAR_OLD_BIN", "ISOBAR_OLD_QUERIES"])
    return Release(binary, queries)


def unless_refused(test):
    """The test, or the assertion that it fails with the expected refusal of the older commit."""
    refusal = REFUSED.get(os.environ["ISOBAR_OLD_COMMIT"], {}).get(test.__name__)
    if refusal is None:
        return test

    @functools.wraps(test)
    def must_be_refused(*arguments, **fixtures):
        with pytest.raises(AssertionError, match=refusal):
            test(*arguments, **fixtures)

    return must_be_refused


TESTS = {name: test for name, test in vars(test_persisted_forms).items() if name.startswith("test_")}
globals().update({name: unless_refused(test) for name, test in TESTS.items()})
assert all(names.keys() <= TESTS.keys() for names in REFUSED.values())
