"""Moving over from the older pipeline, step by step as docs/moving-over.md says it."""

import re
from datetime import date

from support import oracle
from support.binary import PATIENCE_S, REPOSITORY
from support.lake import DAILY_TABLE
from support.roads import lake_of
from support.topic import weather
from support.weather_data import AUTUMN, CITIES, export_line
from support.web import eventually
from test_kafka import count, end

PAGE = (REPOSITORY / "docs" / "moving-over.md").read_text()
# Of each step the commands, in their order.
COMMANDS = re.findall(r"^isobar ((?:land|run) [^\n]*)", PAGE, re.M)
QUERIES = re.findall(r'^isobar sql -c "([^"]*)"', PAGE, re.M)


def step(lake, *words: str) -> list[str]:
    """The words of the next command of the page, which is this one."""
    [command] = [command for command in COMMANDS if all(word in command for word in words)]
    base_path = '"hdfs://namenode:8020$HDFS_BASE_PATH"'
    return [lake.place.export_url if word == base_path else word for word in command.split()]


def test_the_steps_of_the_page_bring_everything_once(lakes, kind, topic, database):
    topic.produce(weather([date(2026, 1, 15), AUTUMN], CITIES[:2], forecasts=1), kinds=["no weather"])
    records = list(topic.records)
    # The older consumer lost some messages and wrote others twice. Kafka has lost the first ones since.
    consumed = [record for place, record in enumerate(records) if place % 40]
    database.older_table(consumed + consumed[100:120])
    # The older exporter left rows out and wrote some twice, in the directory of its own day.
    exported = [record for place, record in enumerate(consumed[:450]) if place % 30] + consumed[10:15]
    lake = lake_of(lakes, kind, topic, database, ISOBAR__LAND__INTERVAL="200ms")
    lake.put({"dt=2026-01-17/weather_20260117T001000123456.json": b"".join(export_line(r) + b"\n" for r in exported)})
    gone = {number: 20 for number in {record.partition for record in records}}
    topic.delete_before(gone)
    # Meanwhile the producer runs.
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]))

    lake.isobar.ok("check")
    from_files = lake.isobar.ok(*step(lake, "files")).stdout
    distinct = {record.identity for record in exported}
    assert f"{len(distinct)} messages landed" in from_files
    from_postgres = lake.isobar.ok(*step(lake, "postgres")).stdout
    assert f"{len(consumed) - len(distinct)} messages landed, 0 refused, {len(distinct)} skipped" in from_postgres
    there = {record.identity for record in consumed}
    truth = [r for r in topic.records if r.identity in there or r.offset >= gone.get(r.partition, 0)]
    with lake.isobar.start(*step(lake, "kafka")) as process:
        eventually(lambda: count(lake) == len(truth), "all rows", PATIENCE_S)
        topic.produce(weather([date(2026, 1, 17)], CITIES[:2])[:50])
        truth += topic.records[-50:]
        eventually(lambda: count(lake) == len(truth), "what came since", PATIENCE_S)
        assert end(process) == 0, process.said()
    # Repeated, in another order, the steps change nothing.
    for source in ["postgres", "files"]:
        assert " 0 messages landed" in f" {lake.isobar.ok(*step(lake, source)).stdout}"
    lake.isobar.ok(*step(lake, "run"))
    assert lake.identities() == oracle.identities(truth)
    oracle.compare_observations(lake.rows("weather"), truth)
    oracle.compare_daily(lake.rows(DAILY_TABLE), oracle.daily_weather_by_city(truth))
    counted, letters = (lake.isobar.query(query) for query in QUERIES)
    assert all(row["rows"] == row["messages"] for row in counted)
    assert sum(row["rows"] for row in counted) == len(truth)
    assert [(row["source"], row["n"]) for row in letters] == [("kafka", 1)]
    [letter] = lake.rows("dead_letters")
    assert (letter["kafka_partition"], letter["kafka_offset"]) == topic.bad[0].identity
