"""Instants, days and local times in SQL: the ends of the calendar in tables of other writers, zones, schedules, and what a change of meaning does to runs."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import deltalake
import pyarrow
import pytest

from support.flight import Server
from test_bad_input import QUERY, with_query

PARIS = ZoneInfo("Europe/Paris")
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def validity(lakes):
    """A table of deltalake with rows that are valid from the first to the last usual instant."""
    lake = lakes.new("local")
    rows = pyarrow.table(
        {
            "n": pyarrow.array([1, 2, 3], pyarrow.int64()),
            "since": pyarrow.array([FIRST, NOW, NOW], pyarrow.timestamp("us", "UTC")),
            "until": pyarrow.array([NOW, LAST, None], pyarrow.timestamp("us", "UTC")),
            "day": pyarrow.array([FIRST.date(), NOW.date(), LAST.date()], pyarrow.date32()),
        }
    )
    deltalake.write_deltalake(f"{lake.place.lake_url}/validity", rows)
    return lake.isobar


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("until = '9999-12-31 23:59:59.999999'", [2]),
        ("until < '9999-12-31T00:00:00Z'", [1]),
        ("until > TIMESTAMP '9999-12-31 00:00:00'", [2]),
        ("since BETWEEN '0001-01-01' AND '2026-01-01'", [1]),
        ("since IN ('0001-01-01', TIMESTAMP '9999-12-31 00:00:00')", [1]),
        ("day >= TIMESTAMP '9999-12-31 00:00:00'", [3]),
        ("coalesce(until, '9999-12-31') > now()", [2, 3]),
        ("now() < until", [2]),
        ("day = since", [1]),
        ("date_trunc('year', until) = '9999-01-01'", [2]),
        ("date_bin(INTERVAL '1 day', since) = '0001-01-01'", [1]),
        ("to_char(until, 'YYYY-MM-DD') = '9999-12-31'", [2]),
        ("extract(year FROM since) = 1", [1]),
        ("day + INTERVAL '12 hours' < since + INTERVAL '13 hours'", [1, 2]),
    ],
)
def test_ends_of_the_calendar_are_found_by_every_condition(validity, condition, expected):
    assert [row["n"] for row in validity.query(f"SELECT n FROM validity WHERE {condition} ORDER BY n")] == expected


def test_filter_by_a_literal_casts_no_column(validity):
    plan = validity.ok("sql", "-c", "EXPLAIN SELECT n FROM validity WHERE until < '9999-12-31'").stdout
    assert "CAST" not in plan.upper().replace("LIMIT", "")


def test_local_times_match_zoneinfo(validity):
    """Around both changes of 2026, and at random; both ways."""
    rng = random.Random(7)
    seconds = [int(datetime(2026, month, day, hour, 30, tzinfo=UTC).timestamp()) for month, day in [(3, 29), (10, 25)] for hour in range(4)]
    seconds += [rng.randrange(0, 2_000_000_000) for _ in range(200)]
    values = ", ".join(f"({second})" for second in seconds)
    rows = validity.query(
        f"SELECT s, to_char(to_timestamp_seconds(s) AT TIME ZONE 'Europe/Paris', 'YYYY-MM-DD HH24:MI:SS') AS local FROM (VALUES {values}) AS t(s)"
    )
    assert {row["s"]: row["local"] for row in rows} == {
        second: datetime.fromtimestamp(second, PARIS).strftime("%Y-%m-%d %H:%M:%S") for second in seconds
    }
    clocks = sorted({row["local"] for row in rows})
    values = ", ".join(f"(TIMESTAMP '{clock}', '{clock}')" for clock in clocks)
    back = validity.query(f"SELECT c, to_unixtime(t AT TIME ZONE 'Europe/Paris') AS s FROM (VALUES {values}) AS v(t, c)")
    # A repeated local time means the second instant: fold=1 in Python.
    for row in back:
        local = datetime.fromisoformat(row["c"]).replace(tzinfo=PARIS, fold=1)
        assert row["s"] == local.timestamp(), row


def test_skipped_local_times_come_later(validity):
    rows = validity.query("SELECT to_char(TIMESTAMP '2026-03-29 02:30:00' AT TIME ZONE 'Europe/Paris', 'YYYY-MM-DD HH24:MI') AS t")
    assert rows == [{"t": "2026-03-29 01:30"}]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "UTC"])
def test_now_and_a_span_of_days_work_in_every_zone(validity, zone):
    isobar = validity.having(ISOBAR__TIME__ZONE=zone)
    statement = "SELECT count(*) AS n, max(now() - since) > INTERVAL '0 days' AS b FROM validity WHERE since > now() - INTERVAL '400000 days'"
    assert isobar.query(statement) == [{"n": 2 + (datetime.now(UTC) - FIRST < timedelta(400000)), "b": True}]


def test_current_date_is_warned_about_where_days_differ(validity, tmp_path, lakes):
    statement = "SELECT count(*) FROM validity WHERE day = current_date"
    for zone, warned in [("Europe/Paris", True), ("UTC", False)]:
        outcome = validity.having(ISOBAR__TIME__ZONE=zone).ok("sql", "-c", statement)
        assert ("event_day(now())" in outcome.stderr) == warned, outcome
    query = QUERY.replace("= $dt", "= $dt AND dt <= current_date")
    outcome = with_query(lakes.new("local"), tmp_path, query).ok("query", "check")
    assert "counted.sql" in outcome.stderr and "event_day(now())" in outcome.stderr


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ('cron = "a b c d e"', "a b c d e"),
        ('cron = ""', "no time to run at"),
        ('cron = "0 0 30 2 *"', "never comes"),
        ('cron = "*/10 * * * *", zone = "Mars/Phobos"', "Mars/Phobos"),
    ],
)
def test_invalid_schedule_is_refused_by_the_check(lakes, tmp_path, schedule, says):
    query = QUERY.replace('--! partition', f"--! schedule = {{ {schedule} }}\n--! partition", 1)
    isobar = with_query(lakes.new("local"), tmp_path, query)
    isobar.refused("query", "check", code=1, says=["counted", says])


def test_flight_announces_instants_as_utc_and_reads_bound_texts_as_utc(validity):
    with Server(validity) as server, server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT until, now() AS now, to_timestamp('2026-01-15') AS made FROM validity ORDER BY n")
        types = {str(field.type) for field in cursor.fetch_arrow_table().schema}
        assert types == {"timestamp[us, tz=UTC]"}
        cursor.execute("SELECT n FROM validity WHERE since = ? AND until IS NULL", ("2026-01-15 10:00:00",))
        assert cursor.fetchall() == [(3,)]
        cursor.execute("SELECT n FROM validity WHERE until > ?", ("9999-12-31",))
        assert cursor.fetchall() == [(2,)]
