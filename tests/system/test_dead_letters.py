"""Dead letters: listed, shown, and replayed after a correction of the declaration, also under kills and beside landings."""

import json
import random
import shutil
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from support import delta, oracle
from support.binary import REPOSITORY, Isobar, parse_csv, parse_json
from support.fixtures import LONG
from support.lake import Lake
from support.sources import lake_of
from support.topic import Topic, compare_dead_letters, weather
from support.weather_data import CITIES, BadLine, Record, build, export_line
from support.web import eventually

KILLS = 20 if LONG else 4
TABLES = ["weather", "weather_forecast", "dead_letters"]
DAY = date(2026, 1, 15)
# Well-formed by the corrected declaration, which also accepts temperatures in kelvin.
CORRECTED = "Kelvin"
STILL_BAD = ["cut short", "no weather", "an empty line", "a key twice"]


@pytest.fixture
def corrected(tmp_path):
    """The binary with the corrected declaration."""
    queries = tmp_path / "queries"
    shutil.copytree(REPOSITORY / "queries", queries)
    table = queries / "tables" / "weather.sql"
    text = table.read_text()
    assert "['temp'] NOT BETWEEN -90 AND 60" in text
    table.write_text(text.replace("['temp'] NOT BETWEEN -90 AND 60", "['temp'] NOT BETWEEN -90 AND 400"))
    return lambda lake: lake.isobar.having(ISOBAR__QUERIES__PATH=str(queries))


def export(days=1, corrected_count=6, **options):
    kinds = [CORRECTED] * corrected_count + STILL_BAD
    return build(
        [DAY + timedelta(days=n) for n in range(days)], CITIES[:2], forecasts=2, malformed=kinds, file_hours=24, **options
    )


def record_of(bad: BadLine) -> Record:
    """The message of a dead letter that is well-formed now."""
    line = json.loads(bad.raw)
    # Paris in January.
    local = datetime.fromisoformat(line["event_time"]).replace(tzinfo=UTC) - timedelta(hours=1)
    return Record(line["kafka_partition"], line["kafka_offset"], int(local.timestamp()), line["value"])


def after(truth) -> tuple[list[Record], list[BadLine]]:
    """The records and the malformed lines after the replay."""
    landed = [record_of(bad) for bad in truth.bad if bad.kind == CORRECTED]
    return truth.records + landed, [bad for bad in truth.bad if bad.kind != CORRECTED]


def versions(lake: Lake) -> list[int]:
    return [delta.version(lake.place, table) for table in TABLES]


def replay(isobar: Isobar, *arguments: str) -> str:
    return isobar.ok("dead-letters", "replay", *arguments).stdout


def test_replayed_dead_letters_land_once_and_are_removed(lakes, kind, corrected, figures):
    truth = export()
    lake = lakes.new(kind)
    lake.put(truth.files)
    lake.land()
    before = versions(lake)
    assert "6 still malformed" not in replay(lake.isobar) and versions(lake) == before
    printed = replay(corrected(lake), "--dry-run")
    assert "weather would get 6 rows" in printed and "6 would land" in printed and "4 still malformed" in printed
    assert versions(lake) == before
    # A reason that no letter has chooses none.
    assert "0 dead letters: 0 landed" in replay(corrected(lake), "--reason", "wrong_type")
    printed = replay(corrected(lake), "--reason", "implausible_temperature")
    assert "weather got 6 rows" in printed and "6 dead letters: 6 landed" in printed
    lake.must_have_landed(*after(truth))
    landed = versions(lake)
    assert "0 landed" in replay(corrected(lake)) and versions(lake) == landed
    # Landing the same files again adds no dead letter by the previous declaration, and no row by the corrected one.
    lake.land()
    corrected(lake).land(lake.place.export_url)
    assert versions(lake) == landed
    figures.record(f"replay of dead letters, {kind}", "6 landed once and left, 4 stayed")


def test_killed_replay_loses_and_duplicates_no_message(lakes, kind, corrected):
    truth = export(corrected_count=60)
    lake = lakes.new(kind, ISOBAR__LAND__ROWS_MAX="20")
    lake.put(truth.files)
    lake.land()
    records, bad = after(truth)
    started = time.monotonic()
    replay(corrected(lake), "--dry-run")
    whole_s = time.monotonic() - started
    chance = random.Random(4)
    for kill in range(KILLS):
        process = corrected(lake).start("dead-letters", "replay")
        # Each kill at another time, the last ones near the end, between the commit of rows and the removal of dead letters.
        time.sleep(whole_s * (kill + chance.random()) / KILLS)
        process.kill()
        process.wait()
        found = lake.identities()
        assert len(found) == len(set(found)) and set(found) <= {record.identity for record in records}
        left = {(row["path"], row["line"]) for row in lake.rows("dead_letters", ["path", "line"])}
        assert len(left) + len(found) >= len(bad) + len(records), "a message is neither a row nor a dead letter"
    replay(corrected(lake))
    lake.must_have_landed(records, bad)
    for table in TABLES:
        files = {stored.path for stored in delta.data_files(lake.place, table)}
        retired = {f"lake/{table}/{path}" for path in removed(lake, table)}
        assert files - retired == delta.live_files(lake.place, table), f"orphans beside {table}"


def removed(lake: Lake, table: str) -> set[str]:
    """Files that commits removed, and older versions still need."""
    commits = range(delta.version(lake.place, table) + 1)
    actions = [action for n in commits for action in delta.actions(lake.place, table, n)]
    return {action["remove"]["path"] for action in actions if "remove" in action}


def test_replay_runs_beside_a_landing(lakes, kind, corrected):
    """The landing uses the previous declaration. It restarts when it finds the commit of the replay, reads every file again,
    and adds no removed dead letter."""
    truth = export()
    lake = lakes.new(kind, ISOBAR__LAND__INTERVAL="100ms")
    lake.put(truth.files)
    with lake.isobar.start("land", "--from", "files", lake.place.export_url) as landing:
        everything = len(truth.bad)
        eventually(lambda: delta.versions_seen(lake.place, "dead_letters") > 1, "a commit", within_s=120)
        eventually(lambda: delta.count(lake.place, "dead_letters") == everything, "the dead letters", within_s=120)
        replay(corrected(lake))
        records, bad = after(truth)
        for n in range(3):
            more = build([DAY + timedelta(days=n + 1)], CITIES[:1], malformed=[CORRECTED], first_offset=(n + 1) * 1000)
            lake.put(more.files)
            records, bad = records + more.records, bad + more.bad
            eventually(lambda: delta.count(lake.place, "weather") == len(records), "the rows", within_s=120)
            assert landing.poll() is None, landing.said()
        landing.terminate()
        assert landing.wait(timeout=60) == 0, landing.said()
    lake.must_have_landed(records, bad)


def test_dead_letters_from_kafka_are_reread_for_their_time(lakes, kind, kafka, corrected):
    topic = Topic(kafka)
    topic.produce(weather([DAY], CITIES[:2], forecasts=2), kinds=[CORRECTED] * 6 + ["no weather", "NaN", "no value"])
    lake = lakes.new(kind, BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name)
    lake.isobar.ok("land", "--from", "kafka", "--once")
    compare_dead_letters(lake.rows("dead_letters"), topic.bad, topic.name)
    printed = replay(corrected(lake))
    assert "9 dead letters: 6 landed" in printed and "3 still malformed" in printed
    # Those were produced right behind records whose city and time they have.
    landed = [Record(*bad.identity, time_of(topic, bad), json.loads(bad.raw)) for bad in topic.bad if bad.kind == CORRECTED]
    records = topic.records + landed
    assert lake.identities() == oracle.identities(records)
    oracle.compare_observations(lake.rows("weather"), records)
    oracle.compare_forecasts(lake.rows("weather_forecast"), records)
    rest = [bad for bad in topic.bad if bad.kind != CORRECTED]
    compare_dead_letters(lake.rows("dead_letters"), rest, topic.name)
    before = versions(lake)
    replay(corrected(lake))
    corrected(lake).ok("land", "--from", "kafka", "--once")
    assert versions(lake) == before


def test_dead_letters_from_postgresql_are_replayed_from_their_rows(lakes, kind, kafka, database, corrected):
    topic = Topic(kafka)
    topic.produce(weather([DAY], CITIES[:2], forecasts=2), kinds=[CORRECTED] * 6 + ["no weather", "NaN"])
    lake = lake_of(lakes, kind, topic, database)
    lake.isobar.ok("consume", "--once")
    lake.isobar.ok("land", "--from", "postgres", "--once")
    assert dead_letters_of(lake) == sorted(bad.identity for bad in topic.bad)
    # One row was deleted, and with it the time of its dead letter.
    gone, *kept = sorted((bad for bad in topic.bad if bad.kind == CORRECTED), key=lambda bad: bad.identity)
    database.run("DELETE FROM weather WHERE (partition, msg_offset) = (%s, %s)", gone.identity)
    outcome = corrected(lake).refused("dead-letters", "replay", code=1, says=["1 dead letter could not be validated"])
    assert "stays: PostgreSQL does not hold the message" in outcome.stdout
    assert "8 dead letters: 5 landed" in outcome.stdout and "2 still malformed" in outcome.stdout
    records = topic.records + [Record(*bad.identity, time_of(topic, bad), json.loads(bad.raw)) for bad in kept]
    assert lake.identities() == oracle.identities(records)
    oracle.compare_observations(lake.rows("weather"), records)
    assert dead_letters_of(lake) == sorted(bad.identity for bad in topic.bad if bad.kind != CORRECTED or bad is gone)


def dead_letters_of(lake: Lake) -> list[tuple[int, int]]:
    rows = lake.rows("dead_letters", ["kafka_partition", "kafka_offset", "source"])
    assert {row["source"] for row in rows} == {"postgres"}
    return sorted((row["kafka_partition"], row["kafka_offset"]) for row in rows)


def time_of(topic: Topic, bad) -> int:
    """The time of the message in Kafka: that of the record before it, of the same city."""
    partition, offset = bad.identity
    before = [record for record in topic.records if record.partition == partition and record.offset < offset]
    return max(before, key=lambda record: record.offset).event_at


def test_dead_letters_without_records_stay_and_are_reported(lakes, kafka, corrected):
    topic = Topic(kafka, partitions=1)
    topic.produce(weather([DAY], CITIES[:1]), kinds=[CORRECTED] * 4 + ["NaN"])
    lake = lakes.new("local", BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name)
    lake.isobar.ok("land", "--from", "kafka", "--once")
    by_offset = sorted((bad for bad in topic.bad if bad.kind == CORRECTED), key=lambda bad: bad.identity)
    first = by_offset[0].identity[1]
    topic.delete_before({0: first + 1})
    eventually(lambda: topic.watermarks()[0][0] == first + 1, "the deletion", within_s=60)
    outcome = corrected(lake).refused("dead-letters", "replay", code=1, says=["1 dead letter could not be validated"], within_s=120)
    assert f"{topic.name}/0/{first} stays: Kafka does not hold the message" in outcome.stdout
    left = lake.rows("dead_letters", ["kafka_offset"])
    stay = {first} | {bad.identity[1] for bad in topic.bad if bad.kind != CORRECTED}
    assert {row["kafka_offset"] for row in left} == stay and len(left) == len(stay)
    # The dead letters belong to the deleted topic, not to a new one of the same name.
    topic.delete()
    eventually(lambda: topic.name not in topic.admin.list_topics(timeout=10).topics, "the topic's end", within_s=60)
    topic.create()
    outcome = corrected(lake).refused("dead-letters", "replay", code=1, says=["could not be validated"], within_s=120)
    assert "deleted and created again" in outcome.stdout
    assert lake.rows("dead_letters", ["kafka_offset"]) == left
    # The message lands from a file, and its dead letter is removed.
    [gone] = by_offset[:1]
    record = Record(0, first, time_of(topic, gone), json.loads(gone.raw))
    lake.put({"dt=2026-01-15/weather_1.json": export_line(record) + b"\n"})
    corrected(lake).land(lake.place.export_url)
    assert "1 had landed already" in replay(corrected(lake))
    assert [row["kafka_offset"] for row in lake.rows("dead_letters", ["kafka_offset"])] == sorted(stay - {first})


def test_dead_letters_are_listed_counted_and_shown(lakes):
    truth = export(corrected_count=3)
    lake = lakes.new("local")
    assert "no such dead letters" in lake.isobar.ok("dead-letters", "list").stdout
    raw = b'{"kafka_partition": 1, "kafka_offset": 999999, "value": \x1b[31m\xff'
    lake.put(truth.files | {"dt=2026-01-15/weather_x.json": raw + b"\n"})
    lake.land()
    listed_rows = parse_json(lake.isobar.ok("dead-letters", "list", "--format", "json").stdout)
    oracle.compare_dead_letters(
        [row | {"value": lake_value(lake, row)} for row in listed_rows if row["kafka_offset"] != 999999], truth.bad
    )
    listed = lake.isobar.ok("dead-letters", "list").stdout
    assert all(row["letter"] in listed for row in listed_rows) and "implausible_temperature" in listed
    received = [row["received_at"] for row in listed_rows]
    assert received == sorted(received, reverse=True)
    chosen = lake.isobar.ok("dead-letters", "list", "--reason", "implausible_temperature", "--limit", "2", "--format", "csv")
    assert len(parse_csv(chosen.stdout)) == 2
    for which in (["--topic", "another"], ["--source", "kafka"], ["--dt", "2020-01-01"], ["--since", "2999-01-01"]):
        assert "no such dead letters" in lake.isobar.ok("dead-letters", "list", *which).stdout, which
    counted = parse_json(lake.isobar.ok("dead-letters", "list", "--summary", "--since", "1h", "--format", "json").stdout)
    assert sum(row["letters"] for row in counted) == len(listed_rows)
    [temperature] = [row for row in counted if row["reason"] == "implausible_temperature"]
    assert (temperature["letters"], temperature["kafka_topic"]) == (3, "weather-api")
    shown = lake.isobar.ok("dead-letters", "show", "weather-api/1/999999").stdout
    assert "\\u{1b}[31m\\xff" in shown and "\x1b" not in shown and "not UTF-8" in shown
    whole = lake.isobar.ok("dead-letters", "show", "weather-api/1/999999", "--format", "json").stdout
    [row] = parse_json(whole)
    assert bytes.fromhex(row["value_hex"]) == raw and row["value"] is None
    [unnamed] = [row for row in listed_rows if row["kafka_offset"] is None]
    assert unnamed["letter"] == f"{unnamed['path']}:{unnamed['line']}"
    assert "reason" in lake.isobar.ok("dead-letters", "show", unnamed["letter"]).stdout
    lake.isobar.refused("dead-letters", "show", "weather-api/1/5", code=1, says=["no dead letter weather-api/1/5"])
    lake.isobar.refused("dead-letters", "show", "weather-api", code=2, says=["topic/partition/offset"])


def lake_value(lake: Lake, row: dict) -> bytes:
    """The bytes of a listed dead letter, as `show` prints them."""
    [shown] = parse_json(lake.isobar.ok("dead-letters", "show", row["letter"], "--format", "json").stdout)
    return shown["value"].encode() if shown["value"] is not None else bytes.fromhex(shown["value_hex"])
