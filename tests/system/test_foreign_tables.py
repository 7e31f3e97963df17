"""Tables of other writers with unsupported features: each is named with the reason, and hides no other table."""

import json
from datetime import UTC, date, datetime

import pyarrow
import pytest

from support import handmade
from support.flight import Server
from support.handmade import File, field_of
from support.weather_data import CITIES, build

ROWS = pyarrow.table({"id": pyarrow.array([1, 2], pyarrow.int64())})
VECTOR = {"storageType": "u", "pathOrInlineDv": "vBn[lx{q8@P<9BNH/isA", "offset": 1, "sizeInBytes": 36, "cardinality": 1}
FEATURES = {"minReaderVersion": 3, "minWriterVersion": 7}


def unreadable(place) -> dict[str, str]:
    """One table for each reason, with the expected text."""
    handmade.write(place, "vectors", [File(ROWS)], protocol=FEATURES | {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]})
    added = handmade.add(place, "vectors", "more.parquet", File(ROWS))
    added["add"]["deletionVector"] = VECTOR
    handmade.commit(place, "vectors", 2, [added])
    mapped = {"minReaderVersion": 2, "minWriterVersion": 5}
    mapping = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}
    handmade.write(
        place, "mapped", [File(ROWS)], protocol=mapped, configuration={"delta.columnMapping.mode": "name"},
        fields=[field_of("id", "long", mapping)],
    )  # fmt: skip
    handmade.write(place, "newer", [File(ROWS)], protocol={"minReaderVersion": 9, "minWriterVersion": 9})
    unknown = {"readerFeatures": ["timeTravelByMoon"], "writerFeatures": ["timeTravelByMoon"]}
    handmade.write(place, "unknown", [File(ROWS)], protocol=FEATURES | unknown)
    handmade.write(place, "broken", [File(ROWS)])
    place.write("lake/broken/_delta_log/00000000000000000001.json", b'{"add": {"pa')
    handmade.write(place, "gap", [File(ROWS)] * 3)
    (place.root / "lake/gap/_delta_log/00000000000000000001.json").unlink()
    place.write("lake/no_entry/_delta_log/notes.json", b"{}")
    handmade.write(place, "cloned", [File(ROWS, path=f"file://{place.root}/lake/plain/part-1.parquet")])
    handmade.write(place, "typed", [File(ROWS, None, {"p": "x"})], partition={"p": "integer"})
    return {
        "vectors": "deletion vectors",
        "mapped": "column mapping",
        "newer": "cannot be read",
        "unknown": "timeTravelByMoon",
        "broken": "cannot be read",
        "gap": "cannot be read",
        "no_entry": "cannot be read",
        "cloned": "outside of the table's directory",
        "typed": "as 'integer'",
    }


def test_unreadable_table_is_named_and_hides_no_other(lakes):
    lake = lakes.new("local")
    handmade.write(lake.place, "plain", [File(ROWS)])
    reasons = unreadable(lake.place)
    handmade.write(lake.place, "Capitals-Too", [File(ROWS)])
    for listing in (
        ("sql", "--format", "json", "-c", "SHOW TABLES"),
        ("sql", "--format", "json", "-c", "SELECT table_name, column_name FROM information_schema.columns"),
        ("table", "list", "--format", "json"),
    ):
        listed = lake.isobar.ok(*listing)
        assert '"plain"' in listed.stdout
        for name in [*reasons, "Capitals-Too"]:
            assert f'"{name}"' not in listed.stdout, listing
            assert name in listed.stderr, f"no warning of {name}: {listed}"
    assert lake.isobar.ok("sql", "-c", "SELECT count(*) FROM system.completeness")
    for name, reason in reasons.items():
        asked = lake.isobar.run("sql", "-c", f"SELECT count(*) FROM {name}")
        assert asked.code == 1 and name in asked.stderr and reason in asked.stderr, asked
        assert "panicked" not in asked.stderr
    with Server(lake.isobar) as server:
        with server.connect() as connection:
            [catalog] = [c for c in connection.adbc_get_objects().read_all().to_pylist() if c["catalog_name"] == "isobar"]
            [schema] = [s for s in catalog["catalog_db_schemas"] if s["db_schema_name"] == "lake"]
            assert [table["table_name"] for table in schema["db_schema_tables"]] == ["plain"]
        assert server.rows("SELECT count(*) AS n FROM plain") == [{"n": 2}]


def test_directory_with_capitals_is_reported_as_such(lakes):
    lake = lakes.new("local")
    handmade.write(lake.place, "My-Orders", [File(ROWS)])
    for asked in ('"My-Orders"', "my_orders", "My_Orders"):
        refused = lake.isobar.run("sql", "-c", f"SELECT * FROM {asked}")
        assert refused.code == 1 and "My-Orders" in refused.stderr and "lower-case" in refused.stderr, refused
    missing = lake.isobar.run("sql", "-c", "SELECT * FROM orders")
    assert missing.code == 1 and "My-Orders" not in missing.stderr


def test_column_with_capitals_is_suggested_in_quotes(lakes):
    lake = lakes.new("local")
    handmade.write(lake.place, "orders", [File(ROWS.rename_columns(["OrderId"]))])
    refused = lake.isobar.run("sql", "-c", "SELECT OrderId FROM orders")
    assert refused.code == 1 and r'did you mean \"OrderId\"' in refused.stderr, refused
    assert lake.isobar.query('SELECT "OrderId" FROM orders') == [{"OrderId": 1}, {"OrderId": 2}]


@pytest.mark.parametrize("hint", [b'{"version": 7, "size": 3}', b"{", b'{"version": 0, "parts": 2}'], ids=str)
def test_wrong_checkpoint_hint_is_ignored(lakes, hint):
    lake = lakes.new("local")
    handmade.write(lake.place, "hinted", [File(ROWS)] * 2)
    lake.place.write("lake/hinted/_delta_log/_last_checkpoint", hint)
    assert lake.isobar.query("SELECT count(*) AS n FROM hinted") == [{"n": 4}]
    assert lake.isobar.query("SELECT sum(id) AS n FROM hinted") == [{"n": 6}]


def test_int96_instant_of_any_year_is_read_as_it_is(lakes):
    """As nanoseconds, INT96 beyond the years 1677 to 2262 would be other instants."""
    years = [datetime(1, 1, 1, tzinfo=UTC), datetime(1600, 2, 29, tzinfo=UTC), datetime(2026, 3, 29, 0, 30, 0, 123456, tzinfo=UTC)]
    years += [datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), None]
    rows = pyarrow.table({"id": range(len(years)), "at": pyarrow.array(years, pyarrow.timestamp("us", "UTC"))})
    lake = lakes.new("local")
    handmade.write(lake.place, "old", [File(rows, int96=True)])
    with Server(lake.isobar) as server:
        for _ in range(3):
            assert server.rows("SELECT id, at FROM old ORDER BY id") == rows.to_pylist()
        assert server.rows("SELECT min(at) AS a, max(at) AS b FROM old") == [{"a": years[0], "b": years[3]}]
        assert server.rows("SELECT id FROM old WHERE at > TIMESTAMP '9000-01-01'") == [{"id": 3}]
        assert server.rows("SELECT id FROM old WHERE at < TIMESTAMP '1601-01-01' ORDER BY id") == [{"id": 0}, {"id": 1}]


def test_removed_data_file_is_named(lakes):
    lake = lakes.new("local")
    handmade.write(lake.place, "vacuumed", [File(ROWS)])
    with Server(lake.isobar) as server:
        assert server.rows("SELECT sum(id) AS n FROM vacuumed") == [{"n": 3}]
        (lake.place.root / "lake/vacuumed/part-1.parquet").unlink()
        # Its footer is cached by now.
        with pytest.raises(Exception, match=r"part-1\.parquet.*is gone") as raised:
            server.rows("SELECT sum(id) AS n FROM vacuumed")
        assert "VACUUM" in str(raised.value)
    asked = lake.isobar.run("sql", "-c", "SELECT sum(id) FROM vacuumed")
    assert asked.code == 1 and "vacuumed/part-1.parquet" in asked.stderr and "is gone" in asked.stderr, asked


def land(lake, day: int):
    """Lands one day of messages."""
    lake.put(build([date(2026, 1, day)], CITIES[:2], forecasts=1, first_offset=day * 1000).files)
    return lake.isobar.run("land", "--from", "files", lake.place.export_url, "--once")


ASKS_OF_WRITERS = {
    "a CHECK constraint": ({"minReaderVersion": 1, "minWriterVersion": 3}, {"delta.constraints.positive": "temp > 0"}, {}, "positive"),
    "an invariant": ({"minReaderVersion": 1, "minWriterVersion": 2}, {}, {"delta.invariants": '{"expression": {"expression": "temp > 0"}}'}, "invariant"),
    "a generated column": ({"minReaderVersion": 1, "minWriterVersion": 4}, {}, {"delta.generationExpression": "1"}, "generation"),
    "an identity": ({"minReaderVersion": 1, "minWriterVersion": 6}, {}, {"delta.identity.start": 1}, "identity"),
    "row tracking": ({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}, {}, {}, "rowTracking"),
    "in-commit timestamps": ({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["inCommitTimestamp"]}, {"delta.enableInCommitTimestamps": "true"}, {}, "in-commit"),
    "a feature of tomorrow": ({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["tomorrow"]}, {}, {}, "tomorrow"),
    "a version of tomorrow": ({"minReaderVersion": 1, "minWriterVersion": 8}, {}, {}, "version 8"),
}  # fmt: skip


@pytest.mark.parametrize("what", ASKS_OF_WRITERS)
def test_unsupported_writer_feature_is_refused_before_the_landing(lakes, what):
    protocol, configuration, of_column, named = ASKS_OF_WRITERS[what]
    lake = lakes.new("local")
    assert land(lake, 15).code == 0
    before = lake.isobar.scalar("SELECT count(*) AS n FROM weather")
    _ask(lake.place, protocol, configuration, of_column)
    refused = land(lake, 16)
    assert refused.code == 1 and named in refused.stderr and "does not write" in refused.stderr, refused
    assert lake.isobar.scalar("SELECT count(*) AS n FROM weather") == before


HONOURED = {
    "append only": ({"minReaderVersion": 1, "minWriterVersion": 2}, {"delta.appendOnly": "true"}),
    "constraints of another version, unused": ({"minReaderVersion": 1, "minWriterVersion": 3}, {}),
    "a change feed": ({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["appendOnly", "invariants", "changeDataFeed", "checkConstraints"]}, {"delta.enableChangeDataFeed": "true"}),
    "defaults": ({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["allowColumnDefaults"]}, {}),
}  # fmt: skip


@pytest.mark.parametrize("what", HONOURED)
def test_writer_feature_without_effect_on_appends_is_accepted(lakes, what):
    protocol, configuration = HONOURED[what]
    lake = lakes.new("local")
    assert land(lake, 15).code == 0
    before = lake.isobar.scalar("SELECT count(*) AS n FROM weather")
    _ask(lake.place, protocol, configuration, {})
    landed = land(lake, 16)
    assert landed.code == 0, landed
    assert lake.isobar.scalar("SELECT count(*) AS n FROM weather") == 2 * before


def _ask(place, protocol: dict, configuration: dict, of_column: dict) -> None:
    """Enables a feature of table `weather`, as another writer."""
    log = place.root / "lake/weather/_delta_log"
    entries = sorted(log.glob("*.json"))
    [metadata] = [line["metaData"] for line in map(json.loads, entries[0].read_text().splitlines()) if "metaData" in line]
    schema = json.loads(metadata["schemaString"])
    [temp] = [column for column in schema["fields"] if column["name"] == "temp"]
    temp["metadata"] |= of_column
    metadata["schemaString"] = json.dumps(schema)
    metadata["configuration"] |= configuration
    handmade.commit(place, "weather", len(entries), [{"protocol": protocol}, {"metaData": metadata}])
