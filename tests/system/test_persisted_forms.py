"""The binary under test continues what commit c6d099f left on disk and on servers.

`fixtures/persisted` holds it, and each test works on a copy. `compatibility_reverse.py` runs the same
tests the other way round.
"""

import json
import shutil
from pathlib import Path

import pytest

from support import delta, oracle
from support.binary import REPOSITORY, parse_json
from support.lake import DAILY_TABLE, Lake
from support.openweather import OpenWeather
from support.persisted import (
    CONSUMED,
    EXPORTED,
    MENDED,
    Kept,
    Pipeline,
    Release,
    cells,
    exports,
    fill,
    lake_of,
    loaded_cells,
    producer,
    transactions,
    waiting,
    with_hbase,
)
from support.places import LocalPlace
from support.produced import ProducedTopic
from support.topic import Topic, compare_dead_letters
from support.weather_data import CITIES, Record

LANDED = ["weather", "weather_forecast", "dead_letters"]
# The app id that a table records when it gains a column.
GAINED = {"isobar/columns"}


@pytest.fixture(scope="module")
def kept() -> Kept:
    """The forms that the writer has left."""
    return Kept(Path(__file__).parent / "fixtures/persisted")


@pytest.fixture(scope="module")
def reader(isobar) -> Release:
    """The release that continues them."""
    return Release(isobar, REPOSITORY / "queries")


@pytest.fixture
def lake(kept, reader, tmp_path) -> Lake:
    return lake_of(reader, kept.place("lake", tmp_path / "lake"), tmp_path / "work")


@pytest.fixture
def pipeline(kept, reader, tmp_path, kafka, postgres):
    with kept.pipeline(reader, tmp_path, kafka, postgres) as pipeline:
        yield pipeline


def versions(lake: Lake) -> list[int]:
    return [delta.version(lake.place, table) for table in LANDED]


def must_be_published(lake: Lake, records: list[Record]) -> None:
    """Asserts the output table, through other readers and isobar, and the files."""
    expected = oracle.daily_weather_by_city(records)
    rows = lake.rows(DAILY_TABLE)
    oracle.compare_daily(map(with_place, rows), expected)
    oracle.compare_daily(map(with_place, lake.isobar.query(f"SELECT * FROM {DAILY_TABLE}")), expected)
    for day in {record.day for record in records}:
        oracle.compare_daily(map(with_place, lake.aggregates(day)), oracle.daily_weather_by_city(records, day))


def with_place(row: dict) -> dict:
    """Adds the place, which rows of the writer lack; each city here has one."""
    return row | {"place_id": row.get("place_id") or str(row["city_id"])}


def test_landed_lake_same_files_again_land_nothing(lake):
    """Deduplication reads the landed rows and the dead letters."""
    first, second, _ = exports()
    lake.must_have_landed(first.records + second.records, first.bad + second.bad)
    before = versions(lake)
    assert "0 messages landed, 0 refused" in lake.land().stdout
    assert versions(lake) == before
    lake.must_have_landed(first.records + second.records, first.bad + second.bad)


def test_landed_lake_further_files_land_on_top(lake):
    """The log continues behind its checkpoint, with the same app ids."""
    first, second, third = exports()
    names = {table: transactions(lake.place, table) for table in LANDED}
    assert all(names.values())
    lake.put(third.files)
    lake.land()
    lake.must_have_landed(first.records + second.records + third.records, first.bad + second.bad + third.bad)
    assert {table: transactions(lake.place, table) for table in LANDED} == names


def test_published_days_run_again_are_stale_once_if_their_query_changed(lake, kept, reader):
    """Or if the number of the semantics has changed. Then all days are fresh, under the same app ids."""
    first, second, _ = exports()
    must_be_published(lake, first.records + second.records)
    names, before = transactions(lake.place, DAILY_TABLE), delta.version(lake.place, DAILY_TABLE)
    lake.aggregate()
    is_stale = kept.understanding() != reader.understanding()
    assert (delta.version(lake.place, DAILY_TABLE) > before) == is_stale
    must_be_published(lake, first.records + second.records)
    assert transactions(lake.place, DAILY_TABLE) - GAINED == names
    before = delta.version(lake.place, DAILY_TABLE)
    lake.aggregate()
    assert delta.version(lake.place, DAILY_TABLE) == before


def test_published_days_new_day_is_published_beside_them(lake):
    """Only the new day is published once the others are fresh."""
    first, second, third = exports()
    lake.aggregate()
    lake.put(third.files)
    lake.land()
    [before] = [delta.live_files(lake.place, DAILY_TABLE)]
    lake.aggregate()
    must_be_published(lake, first.records + second.records + third.records)
    assert before < delta.live_files(lake.place, DAILY_TABLE)


def test_dead_letters_are_listed_shown_and_replayed(lake, reader, tmp_path):
    """Half of them are well-formed by a declaration that accepts kelvin: they land once and are removed."""
    first, second, _ = exports()
    bad = first.bad + second.bad
    dead_letters = parse_json(lake.isobar.ok("dead-letters", "list", "--format", "json").stdout)
    places = {(dead_letter["path"].split("/weather/")[1], dead_letter["line"]) for dead_letter in dead_letters}
    assert places == {(line.path, line.line) for line in bad}
    [shown] = parse_json(lake.isobar.ok("dead-letters", "show", dead_letters[0]["letter"], "--format", "json").stdout)
    assert shown["value"].encode() in {line.raw for line in bad}
    queries = tmp_path / "queries"
    shutil.copytree(reader.queries, queries)
    declaration = queries / "tables/weather.sql"
    strict, corrected = ("['temp'] NOT BETWEEN -90 AND 60", "['temp'] NOT BETWEEN -90 AND 400")
    assert strict in declaration.read_text()
    declaration.write_text(declaration.read_text().replace(strict, corrected))
    isobar = lake.isobar.having(ISOBAR__QUERIES__PATH=str(queries))
    for expected in ["4 dead letters: 2 landed", "2 dead letters: 0 landed"]:
        assert expected in isobar.ok("dead-letters", "replay").stdout
    oracle.compare_dead_letters(lake.rows("dead_letters"), [line for line in bad if line.kind != MENDED])
    replayed = [line.identity for line in bad if line.kind == MENDED]
    assert lake.identities() == sorted(oracle.identities(first.records + second.records) + replayed)


def test_spool_next_start_sends_each_message_once(kept, reader, tmp_path, kafka):
    """In their order, byte for byte, before the messages that the new process fetches."""
    spooled = kept.spool(tmp_path / "spool")
    assert spooled
    sent_to = Topic(kafka)
    topic = ProducedTopic(kafka)
    topic.name = sent_to.name
    place = LocalPlace(tmp_path / "place")
    with OpenWeather(CITIES[:2]) as api:
        isobar = producer(reader, place, tmp_path / "spool", tmp_path / "work", api, topic.servers, topic.name)
        isobar.ok("produce", "--once")
        assert not waiting(tmp_path / "spool")
        by_city = {}
        for message in topic.messages():
            by_city.setdefault(message.key, []).append(message.raw)
        assert sum(map(len, by_city.values())) == len(spooled) + len(CITIES[:2])
    for city in CITIES[:2]:
        expected = [raw for raw in spooled if json.loads(raw)["weather"]["id"] == city.id]
        assert by_city[str(city.id)][: len(expected)] == expected


def test_consumed_topic_consumer_goes_on_at_its_positions(pipeline):
    """Existing messages are not repeated, and the others of Kafka are consumed once."""
    identities, dead_letters = pipeline.database.identities(), "SELECT count(*) FROM isobar.dead_letters"
    assert "0 messages inserted, 0 refused, 0 skipped" in pipeline.run("consume")
    fill(pipeline.topic, CONSUMED, CONSUMED + 7)
    assert "7 messages inserted, 0 refused, 0 skipped" in pipeline.run("consume")
    assert set(identities) < set(pipeline.database.identities())
    no_weather = [bad.identity for bad in pipeline.topic.bad if bad.kind == "no weather"]
    assert pipeline.database.identities() == sorted(oracle.identities(pipeline.topic.records) + no_weather)
    assert pipeline.database.scalar(dead_letters) == 1


def test_exported_rows_exporter_goes_on_behind_them(pipeline):
    """Rows that were consumed and not exported come first; no line is repeated."""
    assert len(pipeline.exported()) == EXPORTED + 1
    assert f"{CONSUMED - EXPORTED} rows exported" in pipeline.run("export")
    fill(pipeline.topic, CONSUMED, CONSUMED + 7)
    pipeline.run("consume")
    assert "7 rows exported" in pipeline.run("export")
    assert pipeline.exported() == pipeline.database.identities()


def test_landed_topic_landing_from_kafka_goes_on_at_its_positions(pipeline):
    """Messages that landed from PostgreSQL are skipped."""
    must_go_on_landing(pipeline, "kafka")


def test_landed_topic_landing_from_postgresql_goes_on_at_its_positions(pipeline):
    """Messages that landed from Kafka are skipped."""
    must_go_on_landing(pipeline, "postgres")


def must_go_on_landing(pipeline: Pipeline, source: str) -> None:
    """Asserts that the landing continues under the app ids of the logs."""
    names = {table: transactions(pipeline.place, table) for table in LANDED}
    assert "0 messages landed, 0 refused" in pipeline.run("land", "--from", source)
    must_have_landed_from_topic(pipeline)
    fill(pipeline.topic, CONSUMED, CONSUMED + 7)
    if source == "postgres":
        pipeline.run("consume")
    assert "7 messages landed, 0 refused" in pipeline.run("land", "--from", source)
    must_have_landed_from_topic(pipeline)
    assert {table: transactions(pipeline.place, table) for table in LANDED} == names


def must_have_landed_from_topic(pipeline: Pipeline) -> None:
    lake, topic = pipeline.lake, pipeline.topic
    assert lake.identities() == oracle.identities(topic.records)
    oracle.compare_observations(lake.rows("weather"), topic.records)
    compare_dead_letters(lake.rows("dead_letters"), topic.bad, topic.name)


def test_cells_next_run_leaves_those_of_the_table(kept, reader, tmp_path, hbase):
    """Also for a new day; cells with earlier times may be hidden below them."""
    lake = lake_of(reader, kept.place("lake", tmp_path / "lake"), tmp_path / "work", **with_hbase(hbase))
    first, second, third = exports()
    before = kept.cells()
    with loaded_cells(hbase, before):
        lake.aggregate()
        must_hold_the_table(lake, hbase)
        lake.put(third.files)
        lake.land()
        lake.aggregate()
        must_hold_the_table(lake, hbase)
        after = cells(hbase)
    must_be_published(lake, first.records + second.records + third.records)
    assert before.keys() < after.keys()
    assert all(after[key][column][1] >= at for key, row in before.items() for column, (_, at) in row.items())


def must_hold_the_table(lake: Lake, hbase: dict[str, str]) -> None:
    """A row for each row of the lake's table, a cell for each value that is not null."""
    found = cells(hbase)
    rows = {f"{row['city_id']}#{row['dt']}": row for row in lake.rows(DAILY_TABLE)}
    assert found.keys() == rows.keys()
    for key, row in rows.items():
        texts = {column: value for column, (value, _) in found[key].items()}
        assert texts.keys() == {f"agg:{column}" for column, value in row.items() if value is not None}
        for column, text in texts.items():
            value = row[column.removeprefix("agg:")]
            assert (float(text) == value) if isinstance(value, float) else (text == str(value)), (key, column)
