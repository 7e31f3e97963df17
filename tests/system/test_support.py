"""Tests of the generator and the oracle, against DuckDB and Python's json."""

import json
from collections import Counter
from datetime import timedelta

import duckdb
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from support import figures, oracle
from support.fixtures import everything
from support.malformed import KINDS
from support.oddities import ODDITIES
from support.topic import watermarks_of
from support.weather_data import AUTUMN, CITIES, SPRING, City, build, date, export_line, message, polls


@pytest.mark.parametrize(("day", "lines"), [(date(2026, 1, 15), 144), (SPRING, 138), (AUTUMN, 150)])
def test_day_has_the_lines_of_its_hours(day, lines):
    assert len(list(polls(CITIES[0], [day]))) == lines
    assert len(build([day], CITIES[:1]).records) == lines


def test_same_call_returns_the_same_bytes():
    days = [date(2026, 1, 15)]
    again = [build(days, CITIES[:2], late=3, redelivered=3, resent=3, malformed=list(KINDS), odd=True) for _ in "ab"]
    assert again[0].files == again[1].files


def test_messages_are_at_most_twelve_minutes_old():
    for at in polls(CITIES[0], [AUTUMN]):
        assert 0 <= at - message(CITIES[0], at)["weather"]["dt"] < 720


def test_export_has_every_kind_and_oddity():
    export = everything()
    assert {bad.kind for bad in export.bad} == set(KINDS)
    notes = [record.value["weather"].get("note", "") for record in export.records]
    assert len(ODDITIES) > 20 and any("\U0001f327" in note for note in notes)


def test_files_have_the_listed_records_only():
    """Lines that are not listed as malformed are the records, once each except for redelivered ones."""
    export = everything()
    bad = {(line.path, line.line): line.raw for line in export.bad}
    seen = Counter()
    for path, data in export.files.items():
        for number, raw in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
            if (path, number) in bad:
                assert raw == bad.pop((path, number))
            else:
                line = json.loads(raw)
                seen[line["kafka_partition"], line["kafka_offset"]] += 1
    assert not bad
    assert sorted(seen) == oracle.identities(export.records)
    assert max(seen.values()) == 2


def test_late_lines_are_in_a_later_directory():
    export = build([date(2026, 1, 15)], CITIES[:1], late=40)
    assert any(f"dt={date(2026, 1, 15) + timedelta(days=1)}" in path for path in export.files)
    assert export.days == [date(2026, 1, 15)]


# Points of the API without an id, two of which are equal to four decimals.
AT_SEA = [
    City(0, "Atlantic", "XX", 10.5, -30.25, "Etc/GMT+2", 20.0),
    City(0, "Atlantic", "XX", 10.50002, -30.25, "Etc/GMT+2", 20.0),
    City(0, "Gulf", "XX", -0.00001, 0.3333, "UTC", 25.0),
]


def test_oracle_agrees_with_duckdb(tmp_path):
    export = build([date(2026, 1, 15), SPRING], [*CITIES[:4], *AT_SEA])
    lines = tmp_path / "lines.json"
    lines.write_bytes(b"\n".join(export_line(record) for record in export.records))
    found = duckdb.sql(f"""
        WITH message AS (
            SELECT cast(event_time AS TIMESTAMP)::DATE AS dt, value.weather AS w, value.precipitations_info AS fallen,
                   value.air_pollution.list[1] AS air
            FROM read_json('{lines}', format = 'newline_delimited')
        )
        SELECT dt, w.id AS city_id,
               if(w.id = 0, concat(w.coord.lat::DECIMAL(9, 4), ',', w.coord.lon::DECIMAL(9, 4)), w.id::VARCHAR) AS place_id,
               any_value(w.name) AS city, any_value(w.sys.country) AS country,
               count(*) AS observations, avg(w.main.temp) AS temp_avg, min(w.main.temp) AS temp_min,
               max(w.main.temp) AS temp_max, avg(air.main.aqi) AS aqi_avg,
               sum(fallen.rain_1h) AS rain_1h_sum, sum(fallen.rain_3h) AS rain_3h_sum,
               sum(fallen.snow_1h) AS snow_1h_sum, sum(fallen.snow_3h) AS snow_3h_sum
        FROM message GROUP BY ALL
    """)
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    oracle.compare_daily(rows, oracle.daily_weather_by_city(export.records))


def test_figures_replace_their_own_section_only(tmp_path):
    path = tmp_path / "docs" / "figures.md"
    figures.keep("one", "First", "| a |", path)
    figures.keep("two", "Second", "| b |", path)
    figures.keep("one", "First", "| c |", path)
    text = path.read_text()
    assert "| a |" not in text
    assert text.index("<!-- one begin -->") < text.index("| c |") < text.index("<!-- one end -->") < text.index("| b |")


def test_broker_that_does_not_lead_a_new_topic_yet_is_asked_again():
    answers = [KafkaError.NOT_LEADER_FOR_PARTITION, (3, 7), KafkaError.TOPIC_AUTHORIZATION_FAILED]

    class Broker:
        def get_watermark_offsets(self, _partition, timeout):
            answer = answers.pop(0)
            if isinstance(answer, tuple):
                return answer
            raise KafkaException(KafkaError(answer))

    new = TopicPartition("new", 0)
    assert watermarks_of(Broker(), new) == (3, 7)
    with pytest.raises(KafkaException):
        watermarks_of(Broker(), new)
    assert not answers
