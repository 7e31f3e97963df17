"""`isobar sql`: formats, positions of errors, refused writes, and visibility of commits."""

import json
import time

import pytest

from support.binary import Terminal, parse_csv, parse_json
from support.fixtures import everything
from support.weather_data import CITIES, build, date

COUNT = "SELECT count(*) AS n FROM weather"
SMALL = "SELECT city_id, max(temp) AS hottest FROM weather GROUP BY city_id ORDER BY city_id"


def expected_small() -> list[tuple[int, float]]:
    hottest: dict[int, float] = {}
    for record in everything().records:
        weather = record.value["weather"]
        hottest[weather["id"]] = max(weather["main"]["temp"], hottest.get(weather["id"], -99.0))
    return sorted(hottest.items())


@pytest.mark.parametrize("origin", ["-c", "-f", "stdin"])
def test_statement_comes_from_argument_file_or_stdin(lakes, kind, origin, tmp_path):
    isobar = lakes.landed(kind).isobar
    file = tmp_path / "count.sql"
    file.write_text(f"-- how many\n{COUNT};\n")
    arguments = {"-c": ["-c", COUNT], "-f": ["-f", str(file)], "stdin": []}[origin]
    outcome = isobar.ok("sql", "--format", "csv", *arguments, stdin=file.read_text() if origin == "stdin" else "")
    assert outcome.stdout.split() == ["n", str(len(everything().records))]


def test_rows_are_printed_in_each_format(lakes):
    isobar = lakes.landed("local").isobar
    csv = parse_csv(isobar.ok("sql", "--format", "csv", "-c", SMALL).stdout)
    assert [(int(row["city_id"]), float(row["hottest"])) for row in csv] == expected_small()
    rows = parse_json(isobar.ok("sql", "--format", "json", "-c", SMALL).stdout)
    assert [(row["city_id"], row["hottest"]) for row in rows] == expected_small()
    table = isobar.ok("sql", "--format", "table", "-c", SMALL).stdout
    for city_id, hottest in expected_small():
        assert any(str(city_id) in line and f"{hottest:g}" in line for line in table.splitlines()), table


def test_empty_result_is_not_an_error(lakes):
    isobar = lakes.landed("local").isobar
    none = "SELECT city FROM weather WHERE temp > 1000"
    assert parse_json(isobar.ok("sql", "--format", "json", "-c", none).stdout) == []
    assert isobar.ok("sql", "--format", "csv", "-c", none).stdout.split() in (["city"], [])


def test_results_of_a_file_keep_the_order_of_its_statements(lakes, tmp_path):
    file = tmp_path / "two.sql"
    file.write_text("SELECT 1 AS a; -- ; not an end\nSELECT 'x;y' AS b;\n")
    outcome = lakes.landed("local").isobar.ok("sql", "--format", "csv", "-f", str(file))
    assert [line.strip('"') for line in outcome.stdout.split()] == ["a", "1", "b", "x;y"]


WRITES = {
    "COPY": "COPY weather TO '{root}/stolen.csv' STORED AS CSV",
    "COPY of a query": "COPY (SELECT 1) TO '{root}/stolen.parquet'",
    "CREATE TABLE": "CREATE TABLE mine AS SELECT * FROM weather",
    "CREATE VIEW": "CREATE VIEW mine AS SELECT * FROM weather",
    "CREATE EXTERNAL TABLE": "CREATE EXTERNAL TABLE mine STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE SCHEMA": "CREATE SCHEMA mine",
    "DROP TABLE": "DROP TABLE weather",
    "INSERT": "INSERT INTO daily_weather_by_city SELECT * FROM daily_weather_by_city",
    "INSERT of values": "INSERT INTO dead_letters (path) VALUES ('x')",
    "UPDATE": "UPDATE weather SET temp = 0",
    "DELETE": "DELETE FROM weather",
    "TRUNCATE": "TRUNCATE TABLE weather",
    "SET": "SET datafusion.execution.batch_size = 1",
    "PREPARE": "PREPARE mine AS SELECT 1",
    "BEGIN": "BEGIN",
    "EXPLAIN of a write": "EXPLAIN ANALYZE COPY weather TO '{root}/stolen.csv' STORED AS CSV",
    "a write behind a read": "SELECT 1; COPY weather TO '{root}/stolen.csv' STORED AS CSV",
    "a file as a table": "SELECT * FROM '/etc/passwd'",
    "a data file as a table": "SELECT * FROM '{root}/weather/dt=2026-01-15/aggregates.jsonl'",
    "a URL as a table": "SELECT * FROM 'file:///etc/passwd'",
}


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES.keys())
def test_only_reads(lakes, statement):
    lake = lakes.landed("local")
    before = lake.place.walk()
    lake.isobar.refused("sql", "-c", statement.format(root=lake.place.root), code=1, says=[r"\w"])
    assert lake.place.walk() == before


def test_only_reads_on_hdfs(lakes):
    lake = lakes.landed("hdfs")
    before = lake.place.walk()
    for statement in [
        "INSERT INTO weather SELECT * FROM weather",
        f"COPY weather TO '{lake.place.lake_url}/stolen.parquet'",
    ]:
        lake.isobar.refused("sql", "-c", statement, code=1, says=["read.only|not supported|not allowed"])
    assert lake.place.walk() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT count(*)\nFROM weather\nWHERE temp >< 3", [r"line:? ?3|:3:"]),
        ("SELECT city,\n  tmp\nFROM weather", ["tmp", r"line:? ?2|:2:"]),
        ("SELECT *\nFROM wether", ["wether"]),
        ("SELECT 1;\nSELECT no_such_function(1)", ["no_such_function"]),
    ],
    ids=["syntax", "column", "table", "function"],
)
def test_error_has_line_and_column(lakes, tmp_path, text, says):
    file = tmp_path / "broken.sql"
    file.write_text(text)
    lakes.landed("local").isobar.refused("sql", "-f", str(file), code=1, says=["broken.sql", *says])


@pytest.mark.parametrize(
    "statement",
    ["SELECT count(*) FROM weather VERSION AS OF 0", "SELECT count(*) FROM weather FOR SYSTEM_TIME AS OF '2026-01-01'"],
)
def test_version_clause_is_refused(lakes, statement):
    lakes.landed("local").isobar.refused("sql", "-c", statement, code=1, says=[r"\w"])


def alone(number: int) -> str:
    """A pattern for the number, not as a part of another one."""
    return rf"(?<![\d.]){number}(?![\d.])"


def test_commit_is_visible_to_an_open_session(lakes, kind, figures):
    """The first query after a commit sees it, in a session with earlier queries."""
    lake = lakes.new(kind)
    first, second = (build([date(2026, 1, n)], CITIES[:1], first_offset=n * 1000) for n in (15, 16))
    lake.put(first.files)
    lake.land()
    with Terminal(lake.isobar, "sql", "--format", "csv") as session:
        session.type(f"{COUNT};\r")
        session.wait_for(alone(len(first.records)))
        lake.put(second.files)
        lake.land()
        asked = time.monotonic()
        session.type(f"{COUNT};\r")
        session.wait_for(alone(len(first.records) + len(second.records)))
    figures.record(f"commit to answer in an open session, {kind}", f"{time.monotonic() - asked:.2f} s")


def test_timing_is_printed_to_stderr(lakes, tmp_path):
    file = tmp_path / "thrice.sql"
    file.write_text(f"{COUNT};\n" * 3)
    outcome = lakes.landed("local").isobar.ok("sql", "--timing", "--format", "json", "-f", str(file))
    times = [line for line in outcome.stderr.splitlines() if line.startswith("time: ")]
    assert len(times) == 3 and all(float(line.split()[1]) >= 0 for line in times)
    assert "time:" not in outcome.stdout


def test_json_keeps_text_whole(lakes):
    """The message column is JSON inside JSON."""
    isobar = lakes.landed("local").isobar
    record = everything().records[0]
    [row] = isobar.query(
        f"SELECT value FROM weather WHERE kafka_partition = {record.partition} AND kafka_offset = {record.offset}"
    )
    assert json.loads(row["value"]) == record.value
