"""Other readers: the package `deltalake`, pyarrow, DuckDB and WebHDFS read what isobar wrote."""

import json
import urllib.request

import duckdb
import pytest

from support import delta, oracle
from support.columns import TABLES, holds
from support.fixtures import everything
from support.lake import DAILY_TABLE


@pytest.mark.parametrize("name", TABLES)
def test_deltalake_opens_the_table_and_counts_the_same_rows(lakes, kind, name):
    lake = lakes.landed(kind)
    counted = delta.table(lake.place, name).to_pyarrow_table().num_rows
    assert counted == lake.isobar.scalar(f"SELECT count(*) AS n FROM {name}") > 0


@pytest.mark.parametrize(("name", "columns"), TABLES.items())
def test_columns_are_the_documented_ones_in_their_order(lakes, kind, name, columns):
    fields = delta.table(lakes.landed(kind).place, name).schema().fields
    assert [field.name for field in fields] == list(columns)


@pytest.mark.parametrize(("name", "columns"), TABLES.items())
def test_pyarrow_reads_a_data_file_and_finds_the_documented_types(lakes, kind, name, columns):
    lake = lakes.landed(kind)
    path = min(delta.live_files(lake.place, name))
    file = delta.read_parquet(lake.place, path)
    assert file.num_rows > 0
    partitioned = set(delta.table(lake.place, name).metadata().partition_columns)
    assert set(file.column_names) == set(columns) - partitioned
    wrong = [f"{f.name}: {f.type}" for f in file.schema if not holds(columns[f.name], f.type)]
    assert wrong == []


@pytest.mark.parametrize("name", ["weather", "weather_forecast", DAILY_TABLE])
def test_tables_are_partitioned_by_day_and_plain(lakes, name):
    """No deletion vectors and no column mapping, so that every reader can read the table."""
    table = delta.table(lakes.landed("local").place, name)
    assert table.metadata().partition_columns == ["dt"]
    assert table.protocol().min_reader_version == 1
    files = table.get_add_actions(flatten=True)
    assert all(n > 0 for n in files.column("num_records").to_pylist()), "statistics are missing"


def test_webhdfs_returns_the_aggregates(lakes, stack):
    """By one URL, as users of the legacy pipeline do with curl."""
    lake, export = lakes.landed("hdfs"), everything()
    for day in export.days:
        url = f"{stack.http_url}/webhdfs/v1{lake.place.root}/{lake.aggregates_path(day)}?op=OPEN&user.name=hdfs"
        with urllib.request.urlopen(url) as answer:
            rows = [json.loads(line) for line in answer.read().splitlines()]
        assert [list(row) for row in rows] == [list(TABLES[DAILY_TABLE])] * len(rows)
        oracle.compare_daily(rows, oracle.daily_weather_by_city(export.records, day))


def test_duckdb_computes_the_same_aggregates_from_the_data_files(lakes):
    lake, export = lakes.landed("local"), everything()
    weather = delta.table(lake.place, "weather").to_pyarrow_table()  # noqa: F841, DuckDB finds it by its name
    found = duckdb.sql("""
        SELECT dt, city_id, city_id::VARCHAR AS place_id, any_value(city) AS city, any_value(country) AS country, count(*) AS observations,
               avg(temp) AS temp_avg, min(temp) AS temp_min, max(temp) AS temp_max, avg(aqi) AS aqi_avg,
               sum(rain_1h) AS rain_1h_sum, sum(rain_3h) AS rain_3h_sum,
               sum(snow_1h) AS snow_1h_sum, sum(snow_3h) AS snow_3h_sum
        FROM weather GROUP BY dt, city_id
    """)
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    oracle.compare_daily(rows, oracle.daily_weather_by_city(export.records))
