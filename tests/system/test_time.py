"""A year in Paris, with a day of 23 hours and one of 25: no message is lost, in any time zone of the machine."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from operator import itemgetter

from support import oracle
from support.database import Database
from support.fixtures import LONG
from support.lake import DAILY_TABLE
from support.sources import lake_of
from support.topic import Topic
from support.weather_data import AUTUMN, CITIES, SPRING, Export, Record, build, day_range, export_line, message, polls
from test_export import must_hold as must_be_exported

ZONES = ["UTC", "America/New_York", "Asia/Kolkata"]
# Clocks in New York change on other days than in Paris.
NEW_YORK = [date(2026, 3, 8), date(2026, 11, 1)]
AROUND = [day + timedelta(days=n) for day in [SPRING, AUTUMN] for n in [-1, 0, 1]]
# A message from days ahead would be refused, so the year is over.
YEAR = day_range(date(2025, 11, 3), 365) if LONG else sorted(AROUND + NEW_YORK)
ORDINARY, MINUTE_S = 144, 60
LENGTHS = {SPRING: 138, AUTUMN: 150}
MINUTES = {SPRING: 1380, AUTUMN: 1500}


def observations(rows: Iterable[dict]) -> dict[date, int]:
    """The counts of the daily aggregation, by day."""
    counts = Counter()
    for row in rows:
        counts[date.fromisoformat(str(row["dt"]))] += row["observations"]
    return dict(counts)


def every_minute(days: Iterable[date]) -> Iterator[Record]:
    city = CITIES[0]
    for offset, at in enumerate(polls(city, days, MINUTE_S)):
        yield Record(0, offset, at, message(city, at))


def in_files(records: Iterable[Record]) -> Export:
    """A file for each day."""
    export = Export(records=list(records))
    for record in export.records:
        path = f"dt={record.day}/weather_1.json"
        export.files[path] = export.files.get(path, b"") + export_line(record) + b"\n"
    return export


def test_year_lands_completely_in_any_time_zone(lakes, figures):
    """The short test has the clock changes and the days around them."""
    export = build(YEAR, CITIES[:1])
    rows = must_be_the_same_everywhere(lakes, export, {day: LENGTHS.get(day, ORDINARY) for day in YEAR})
    figures.record(f"{len(YEAR)} days at ten-minute steps, TZ={', '.join(ZONES)}", f"{rows} rows each: 0 lost, 0 double")


def test_minute_of_a_clock_change_lands_once_in_any_time_zone(lakes, figures):
    export = in_files(every_minute(MINUTES))
    rows = must_be_the_same_everywhere(lakes, export, MINUTES)
    figures.record(f"every minute of the days of change, TZ={', '.join(ZONES)}", f"{rows} rows each: 0 lost, 0 double")


def must_be_the_same_everywhere(lakes, export: Export, lengths: dict[date, int]) -> int:
    """Lands and aggregates in each zone; returns the number of rows."""
    assert Counter(record.day for record in export.records) == lengths
    expected = oracle.daily_weather_by_city(export.records)
    first = None
    for zone in ZONES:
        lake = lakes.new("local", TZ=zone)
        lake.land_and_aggregate(export.files)
        lake.must_have_landed(export.records, [])
        lines = [line for day in export.days for line in lake.aggregates(day)]
        for published in [lake.rows(DAILY_TABLE), lines]:
            assert observations(published) == lengths, zone
            oracle.compare_daily(published, expected)
        rows = sorted(lake.rows("weather"), key=itemgetter("kafka_partition", "kafka_offset"))
        first = first or rows
        assert rows == first, f"{zone} differs from {ZONES[0]}"
    return len(first)


def test_minute_of_a_clock_change_passes_every_source_in_any_time_zone(lakes, postgres, topic: Topic):
    topic.produce(every_minute(MINUTES))
    for zone in ZONES if LONG else ZONES[1:2]:
        lake = lake_of(lakes, "local", topic, Database(postgres), TZ=zone)
        lake.isobar.ok("consume", "--once")
        lake.isobar.ok("export", "--once")
        must_be_exported(lake, topic.records)
        lake.land()
        lake.aggregate()
        lake.must_have_landed(topic.records, [])
        assert observations(lake.rows(DAILY_TABLE)) == MINUTES, zone
