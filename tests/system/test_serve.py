"""`isobar serve`: every client reads the rows of the lake, and no request changes it."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from operator import itemgetter

import adbc_driver_manager
import pyarrow
import pyarrow.flight
import pytest

from support import columns
from support.fixtures import everything
from support.flight import Jdbc, Server, ask, descriptor, packed, statement
from support.lake import DAILY_TABLE, Lake
from support.weather_data import CITIES, build
from support.web import eventually
from test_sql import WRITES

# The key of a row.
KEYS = {"weather": ("kafka_partition", "kafka_offset"), DAILY_TABLE: ("dt", "city_id")}


class Serving:
    """Landed lakes and their servers, one for each kind of place."""

    def __init__(self, lakes, exits: contextlib.ExitStack):
        self._lakes, self._exits = lakes, exits
        self._running: dict[str, tuple[Lake, Server]] = {}

    def __call__(self, kind: str) -> tuple[Lake, Server]:
        if kind not in self._running:
            lake = self._lakes.landed(kind)
            self._running[kind] = lake, self._exits.enter_context(Server(lake.isobar))
        return self._running[kind]


@pytest.fixture(scope="module")
def serving(lakes) -> Iterator[Serving]:
    with contextlib.ExitStack() as exits:
        yield Serving(lakes, exits)


@pytest.fixture(scope="module")
def jdbc(serving) -> Iterator[Jdbc]:
    with Jdbc(serving("local")[1]) as jdbc:
        yield jdbc


def in_order(table: str, rows: list[dict]) -> list[dict]:
    return sorted(rows, key=itemgetter(*KEYS[table]))


@pytest.mark.parametrize("table", KEYS)
def test_adbc_reads_what_the_lake_holds(serving, kind, table):
    lake, server = serving(kind)
    assert in_order(table, server.rows(f"SELECT * FROM {table}")) == in_order(table, lake.rows(table))


@pytest.mark.parametrize("table", KEYS)
def test_flight_streams_the_announced_schema(serving, kind, table):
    lake, server = serving(kind)
    with server.client() as client:
        rows = ask(client, statement(f"SELECT * FROM {table}"))
    assert in_order(table, rows.to_pylist()) == in_order(table, lake.rows(table))
    assert rows.schema.names == list(columns.TABLES[table])


def test_jdbc_reads_what_the_lake_holds(serving, jdbc):
    lake, _ = serving("local")
    texts = {
        "dt": date.fromisoformat,
        "event_time": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
        "city": str,
        "country": str,
        "temp": float,
        "wind_gust": float,
        "temp_avg": float,
        "rain_1h_sum": float,
        "aqi_avg": float,
    }
    for table, chosen in {
        "weather": ["kafka_partition", "kafka_offset", "dt", "event_time", "city_id", "city", "temp", "wind_gust"],
        DAILY_TABLE: ["dt", "city_id", "city", "country", "observations", "temp_avg", "rain_1h_sum", "aqi_avg"],
    }.items():
        found = [
            {name: None if text is None else texts.get(name, int)(text) for name, text in row.items()}
            for row in jdbc.ask("query", f"SELECT {', '.join(chosen)} FROM {table}")
        ]
        assert in_order(table, found) == in_order(table, lake.rows(table, chosen))


def test_jdbc_browses_the_lake(serving, jdbc):
    tables = sorted(columns.TABLES)
    assert jdbc.ask("catalogs") == [{"TABLE_CAT": "isobar"}]
    schemas = [{"TABLE_SCHEM": name, "TABLE_CATALOG": "isobar"} for name in ("lake", "system")]
    assert jdbc.ask("schemas") == schemas
    assert [row["TABLE_NAME"] for row in jdbc.ask("tables", "%")] == tables
    assert [row["TABLE_NAME"] for row in jdbc.ask("tables", "weather%")] == ["weather", "weather_forecast"]
    assert [row["TABLE_NAME"] for row in jdbc.ask("tables", "w_ather")] == ["weather"]
    assert [row["TABLE_TYPE"] for row in jdbc.ask("table types")] == ["SYSTEM TABLE", "TABLE"]
    for table in tables:
        found = jdbc.ask("columns", table.replace("_", "\\_"))
        assert [row["COLUMN_NAME"] for row in found] == list(columns.TABLES[table])
        assert {row["TABLE_NAME"] for row in found} == {table}
    types = {row["COLUMN_NAME"]: row["TYPE_NAME"] for row in jdbc.ask("columns", "weather")}
    assert (types["dt"], types["city"], types["temp"], types["city_id"]) == ("DATE", "VARCHAR", "DOUBLE", "BIGINT")
    assert types["event_time"].startswith("TIMESTAMP")
    [product] = jdbc.ask("product")
    assert product["name"] == "Isobar" and product["quote"] == '"' and product["read_only"] == "true"
    assert "lower" in product["functions"] and "ILIKE" in product["keywords"]
    # The driver returns no rows by itself; the response of the service is tested below.
    assert jdbc.ask("types") == []
    assert jdbc.ask("primary keys", "weather") == jdbc.ask("imported keys", "weather") == []


def test_jdbc_binds_values(serving, jdbc):
    lake, _ = serving("local")
    rows = lake.rows("weather")
    [found] = jdbc.ask(
        "prepared",
        "SELECT count(*) AS n FROM weather WHERE city = ? AND temp > ? AND dt >= ? AND kafka_offset < ?",
        "string:Paris",
        "double:2.5",
        "date:2026-01-16",
        "long:1000000",
    )
    expected = [row for row in rows if row["city"] == "Paris" and row["temp"] > 2.5 and row["dt"] >= date(2026, 1, 16)]
    assert int(found["n"]) == len(expected)
    assert jdbc.ask("prepared", "SELECT CAST(? AS BIGINT) + 1 AS a, ? AS b", "long:41", "string:it's ?") == [
        {"a": "42", "b": "it's ?"}
    ]


def test_adbc_binds_values_and_never_writes_them_into_the_text(serving):
    _, server = serving("local")
    day, noon = date(2026, 1, 15), datetime(2026, 1, 15, 12, tzinfo=UTC)
    values = (7, 2.5, "it's; DROP TABLE weather --", day, noon, True, None)
    [row] = server.rows("SELECT ? AS i, ? AS f, ? AS s, ? AS d, ? AS t, ? AS b, ? AS n", values)
    assert tuple(row.values()) == values
    with server.connect() as connection, connection.cursor() as cursor:
        named = pyarrow.record_batch({"city": ["Paris"], "least": [0.0]})
        cursor.execute("SELECT count(*) AS n FROM weather WHERE temp > $least AND city = $city", named)
        [bound] = cursor.fetchone()
        assert bound == len(server.rows("SELECT 1 FROM weather WHERE temp > 0.0 AND city = 'Paris'"))
        with pytest.raises(adbc_driver_manager.Error, match="parameter"):
            cursor.execute("SELECT ? + 1", (1, 2))
    with server.client() as client, pytest.raises(pyarrow.ArrowInvalid, match="no value was bound to parameter 1"):
        ask(client, statement("SELECT $1"))


def test_adbc_browses_the_lake(serving):
    _, server = serving("local")
    with server.connect() as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "Isobar"
        [catalog] = connection.adbc_get_objects(depth="all", table_name_filter="weather%").read_all().to_pylist()
        schemas = {schema["db_schema_name"]: schema for schema in catalog["catalog_db_schemas"]}
        assert catalog["catalog_name"] == "isobar" and "lake" in schemas
        tables = {table["table_name"]: table for table in schemas["lake"]["db_schema_tables"]}
        assert sorted(tables) == ["weather", "weather_forecast"]
        names = [column["column_name"] for column in tables["weather"]["table_columns"]]
        assert names == list(columns.TABLES["weather"])
        assert connection.adbc_get_table_types() == ["SYSTEM TABLE", "TABLE"]
        [select] = [connection.adbc_get_table_schema("weather")]
        assert select.names == list(columns.TABLES["weather"])


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        ("CommandGetCatalogs", 1),
        ("CommandGetDbSchemas", 2),
        ("CommandGetTables", len(columns.TABLES) + len(columns.SYSTEM)),
        ("CommandGetTableTypes", 2),
        ("CommandGetSqlInfo", None),
        ("CommandGetXdbcTypeInfo", None),
        ("CommandGetPrimaryKeys", 0),
        ("CommandGetExportedKeys", 0),
        ("CommandGetImportedKeys", 0),
        ("CommandGetCrossReference", 0),
    ],
)
def test_metadata_command_returns_rows(serving, command, rows):
    _, server = serving("local")
    with server.client() as client:
        found = ask(client, descriptor(command))
    assert found.num_rows == rows if rows is not None else found.num_rows > 10


def test_tables_come_with_their_columns(serving):
    _, server = serving("local")
    with server.client() as client:
        found = ask(client, descriptor("CommandGetTables", {3: "daily%", 5: True})).to_pylist()
    [daily] = found
    schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(daily["table_schema"]))
    assert schema.names == list(columns.TABLES[DAILY_TABLE])
    assert schema.field("dt").metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"] == b"DATE"


def test_types_that_old_drivers_cannot_read_are_not_sent(serving, jdbc):
    _, server = serving("local")
    text = """SELECT arrow_cast('a', 'Utf8View') AS s, arrow_cast('a', 'BinaryView') AS b, substr(city, 1, 2) AS f,
        arrow_cast('d', 'Dictionary(Int32, Utf8)') AS d, [arrow_cast('e', 'Utf8View')] AS l FROM weather LIMIT 1"""
    with server.client() as client:
        schema = ask(client, statement(text)).schema
    assert [str(field.type) for field in schema] == ["string", "binary", "string", "string", "list<item: string>"]
    assert jdbc.ask("query", "SELECT arrow_cast('a', 'Utf8View') AS s") == [{"s": "a"}]


def test_show_describe_and_explain_are_answered(serving):
    _, server = serving("local")
    assert {row["table_name"] for row in server.rows("SHOW TABLES")} >= set(columns.TABLES)
    assert [row["column_name"] for row in server.rows("DESCRIBE weather")] == list(columns.TABLES["weather"])
    assert server.rows("EXPLAIN SELECT count(*) FROM weather")


@pytest.mark.parametrize("text", WRITES.values(), ids=WRITES.keys())
def test_only_reads(serving, jdbc, text):
    """As a query, as an update, prepared or not; no file is added or changed."""
    lake, server = serving("local")
    before = lake.place.walk()
    text = text.format(root=lake.place.root)
    with server.connect() as connection, connection.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.Error, match="INVALID_ARGUMENT"):
            cursor.execute(text)
        with pytest.raises(adbc_driver_manager.Error, match="INVALID_ARGUMENT"):
            cursor.executescript(text)
    with server.client() as client, pytest.raises(pyarrow.ArrowInvalid):
        ask(client, statement(text))
    with server.client() as client, pytest.raises(pyarrow.ArrowInvalid):
        client.do_get(pyarrow.flight.Ticket(packed("CommandStatementQuery", {1: text}))).read_all()
    assert jdbc.refused("query", text)
    assert jdbc.refused("update", text)
    assert lake.place.walk() == before


def test_refusal_names_the_statement(serving, jdbc):
    _, server = serving("local")
    insert = "INSERT INTO weather SELECT * FROM weather"
    assert "INSERT is not allowed here" in jdbc.refused("update", insert)
    with server.connect() as connection, connection.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.Error, match="INSERT is not allowed here"):
            cursor.executescript(insert)
        with pytest.raises(adbc_driver_manager.Error, match="not as an update"):
            cursor.executescript("SELECT 1")
        with pytest.raises(adbc_driver_manager.Error, match="cannot be ingested into \"mine\""):
            cursor.adbc_ingest("mine", pyarrow.table({"a": [1]}), mode="create")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT count(*)\nFROM weather\nWHERE temp >< 3", "statement:3:"),
        ("SELECT city,\n  tmp\nFROM weather", "'tmp'.*\n.*statement:2:3"),
        ("SELECT * FROM wether", "wether"),
        ("SELECT 1; SELECT 2", "statement"),
        ("", "statement"),
        ("SELECT 1 / 0", "[Dd]ivide by zero"),
        ("SELECT CAST(city AS BIGINT) FROM weather", "Cannot cast string '"),
        ("SELECT count(*) FROM weather VERSION AS OF 0", "statement:1:"),
        (f"SELECT '{'x' * 300_000}'", "bytes"),
    ],
    ids=["syntax", "column", "table", "two", "none", "division", "cast", "version", "length"],
)
def test_error_of_a_statement_has_code_and_position(serving, text, says):
    _, server = serving("local")
    with server.client() as client, pytest.raises(pyarrow.ArrowInvalid, match=says):
        ask(client, statement(text))


def test_long_error_fits_into_a_header(serving):
    _, server = serving("local")
    text = f"SELECT {'é' * 50_000} FROM weather"
    with server.client() as client, pytest.raises(pyarrow.ArrowInvalid, match="ééé"):
        ask(client, statement(text))


def test_request_outside_flight_sql_is_refused(serving):
    _, server = serving("local")
    with server.client() as client:
        with pytest.raises(pyarrow.ArrowInvalid, match="no message of Flight SQL"):
            client.get_flight_info(pyarrow.flight.FlightDescriptor.for_command(b"\xff\xff"))
        with pytest.raises(pyarrow.ArrowInvalid, match="no ticket of ours"):
            client.do_get(pyarrow.flight.Ticket(packed("TicketStatementQuery", {1: b"\xff"}))).read_all()
        with pytest.raises(pyarrow.ArrowNotImplementedError, match="CommandStatementSubstraitPlan"):
            client.get_flight_info(descriptor("CommandStatementSubstraitPlan"))
        with pytest.raises(pyarrow.ArrowNotImplementedError, match="no transactions"):
            list(client.do_action(pyarrow.flight.Action("BeginTransaction", b"")))
        [closed] = client.do_action(pyarrow.flight.Action("CloseSession", b""))
        assert closed.body.to_pybytes() == b"\x08\x01"
        assert list(client.list_flights()) == []
        assert "CreatePreparedStatement" in [action.type for action in client.list_actions()]


def test_commit_is_visible_to_an_open_connection(lakes, kind):
    lake = lakes.new(kind)
    first, second = (build([date(2026, 1, n)], CITIES[:1], first_offset=n * 1000) for n in (15, 16))
    lake.put(first.files)
    lake.land()
    with Server(lake.isobar) as server, server.connect() as connection, connection.cursor() as cursor:
        for expected in (first.records, first.records + second.records):
            cursor.execute("SELECT count(*) FROM weather")
            assert cursor.fetchone() == (len(expected),)
            lake.put(second.files)
            lake.land()


def test_empty_lake_is_served_and_new_tables_appear(lakes):
    lake = lakes.new("local")
    with Server(lake.isobar) as server:
        server.wait_until_ready()
        with server.client() as client:
            assert ask(client, descriptor("CommandGetTables", {4: ["TABLE"]})).num_rows == 0
            lake.land_and_aggregate(build([date(2026, 1, 15)], CITIES[:1]).files)
            assert ask(client, descriptor("CommandGetTables", {4: ["TABLE"]})).num_rows == len(columns.TABLES)


def test_health_readiness_and_metrics(serving, kind):
    _, server = serving(kind)
    assert server.get("/healthz") == (200, "ok\n")
    server.wait_until_ready()
    assert server.get("/nothing")[0] == 404
    before = [server.metric(name) for name in ('isobar_queries_total{outcome="ok"}', "isobar_sent_rows_total")]
    rows = len(server.rows("SELECT city FROM weather"))

    def counted() -> bool:
        after = [server.metric(name) for name in ('isobar_queries_total{outcome="ok"}', "isobar_sent_rows_total")]
        return [new - old for new, old in zip(after, before, strict=True)] == [1, rows]

    eventually(counted, "the statement and its rows are counted")  # after the client has received them
    assert server.metric("isobar_sent_bytes_total") > 0
    assert server.metric("isobar_storage_calls_total") > 0
    assert server.metric("isobar_query_duration_seconds_count") >= 1
    with pytest.raises(adbc_driver_manager.Error):
        server.rows("SELECT 1 / (temp - temp)::BIGINT FROM weather")
    eventually(lambda: server.metric('isobar_queries_total{outcome="refused"}') >= 1, "the refusal is counted")


def test_unavailable_lake_is_reported_until_it_returns(serving, stack):
    _, server = serving("hdfs")
    stack.kill("namenode")
    status, reason = server.get("/readyz")
    assert status == 503 and "cannot be reached" in reason
    assert server.get("/healthz")[0] == 200
    with server.client() as client, pytest.raises(pyarrow.flight.FlightUnavailableError, match="NameNode"):
        ask(client, statement("SELECT count(*) FROM weather"))
    stack.restore()
    server.wait_until_ready()
    assert server.rows("SELECT count(*) AS n FROM weather") == [{"n": len(everything().records)}]


def test_public_address_is_refused(lakes):
    isobar = lakes.new("local").isobar
    for address in ("0.0.0.0:32010", "[::]:32010"):
        says = ["serve.flight_listen", "TLS", "loopback", "127.0.0.1:32010"]
        isobar.refused("serve", "--set", f"serve.flight_listen={address}", code=1, says=says)


def test_occupied_address_is_named(serving, lakes):
    _, server = serving("local")
    isobar = lakes.new("local").isobar
    isobar.refused(
        "serve", "--set", f"serve.flight_listen={server.flight}", code=1, says=["serve.flight_listen", server.flight]
    )
