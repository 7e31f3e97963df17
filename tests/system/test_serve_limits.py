"""`isobar serve` with clients that request too much, read slowly, disconnect or never end, and with signals."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow
import pyarrow.flight
import pytest

from support.flight import Server, fields, message, packed, statement, varint
from support.web import eventually

# 40 billion rows, 640 GB; and their count, which returns nothing for a long time.
ENDLESS = "SELECT a.value AS a, b.value AS b FROM generate_series(1, 2000) a CROSS JOIN generate_series(1, 20000000) b"
SILENT = f"SELECT count(*) AS n FROM ({ENDLESS}) WHERE a + b < 0"
# A client that reads one batch, prints that, and keeps the stream open until it is killed.
CLIENT = """
import sys, pyarrow.flight as flight
client = flight.connect("grpc://" + sys.argv[1])
reader = client.do_get(flight.Ticket(bytes.fromhex(sys.argv[2])))
reader.read_chunk()
print("reading", flush=True)
sys.stdin.read()
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
def isobar_alone(lakes):
    """The binary over a lake without tables: these statements generate their rows."""
    return lakes.new("local").isobar


@pytest.fixture
def server(isobar_alone) -> Iterator[Server]:
    with Server(isobar_alone) as server:
        yield server


def ticket(client: pyarrow.flight.FlightClient, sql: str) -> pyarrow.flight.Ticket:
    [endpoint] = client.get_flight_info(statement(sql)).endpoints
    return endpoint.ticket


def all_ended(server: Server) -> None:
    eventually(lambda: server.running() == 0, "no statement runs")


@pytest.mark.parametrize("sql", [ENDLESS, SILENT], ids=["streaming", "silent"])
def test_time_limit_ends_a_statement(isobar_alone, sql):
    with Server(isobar_alone, ISOBAR__SERVE__QUERY_TIMEOUT="2s") as server, server.client() as client:
        with pytest.raises(pyarrow.flight.FlightTimedOutError, match=r"within 2s \(serve.query_timeout\)"):
            for _ in client.do_get(ticket(client, sql)):
                pass
        all_ended(server)
        assert server.metric('isobar_queries_total{outcome="timed_out"}') == 1
        assert server.rows("SELECT 1 AS a") == [{"a": 1}]


def test_time_limit_includes_earlier_requests_of_the_statement(isobar_alone):
    """Drivers plan a statement three times. The fifth field of the ticket has the time spent, in milliseconds."""
    with Server(isobar_alone, ISOBAR__SERVE__QUERY_TIMEOUT="1h") as server, server.client() as client:
        [sealed] = fields(ticket(client, "SELECT 1 AS a").ticket)[2]
        [run] = fields(sealed)[1]

        def fetch(spent_ms: int) -> pyarrow.Table:
            spent = bytes([5 << 3]) + varint(spent_ms)
            return client.do_get(pyarrow.flight.Ticket(packed("TicketStatementQuery", {1: run + spent}))).read_all()

        assert fetch(10).to_pylist() == [{"a": 1}]
        with pytest.raises(pyarrow.flight.FlightTimedOutError, match=r"within 3600s \(serve.query_timeout\)"):
            fetch(3_600_000)


def test_time_limit_ends_a_statement_of_a_client_that_does_not_read(isobar_alone):
    with Server(isobar_alone, ISOBAR__SERVE__QUERY_TIMEOUT="2s") as server, server.client() as client:
        reader = client.do_get(ticket(client, ENDLESS))
        reader.read_chunk()
        all_ended(server)
        with pytest.raises(pyarrow.flight.FlightTimedOutError):
            for _ in reader:
                pass


def test_cancelled_call_frees_its_permit(server):
    with server.client() as client:
        reader = client.do_get(ticket(client, ENDLESS))
        reader.read_chunk()
        assert server.running() == 1
        reader.cancel()
        all_ended(server)
    assert server.metric('isobar_queries_total{outcome="cancelled"}') == 1


@pytest.mark.parametrize("action", ["CancelFlightInfo", "CancelQuery"])
def test_action_cancels_a_statement(server, action):
    with server.client() as client, server.client() as other:
        info = client.get_flight_info(statement(ENDLESS))
        request = message({1: info.serialize()})
        if action == "CancelQuery":
            request = packed("ActionCancelQueryRequest", {1: info.serialize()})
        not_yet = answer(other, action, request)
        reader = client.do_get(info.endpoints[0].ticket)
        reader.read_chunk()
        assert answer(other, action, request) == 1 and not_yet == 3
        with pytest.raises(pyarrow.flight.FlightCancelledError, match="cancelled"):
            for _ in reader:
                pass
        all_ended(server)


def answer(client: pyarrow.flight.FlightClient, action: str, request: bytes) -> int:
    [result] = client.do_action(pyarrow.flight.Action(action, request))
    body = fields(result.body.to_pybytes())
    return (fields(body[2][0]) if action == "CancelQuery" else body)[1][0]


def test_killed_client_frees_its_permit(server):
    with server.client() as client:
        sealed = ticket(client, ENDLESS).ticket.hex()
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, server.flight, sealed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "reading\n"
    assert server.running() == 1
    process.kill()
    process.communicate()
    all_ended(server)


def test_concurrent_statements_are_limited(isobar_alone):
    with Server(isobar_alone, ISOBAR__SERVE__QUERIES_MAX="2") as server, server.client() as client:
        readers = [client.do_get(ticket(client, ENDLESS)) for _ in range(2)]
        for reader in readers:
            reader.read_chunk()
        with pytest.raises(pyarrow.ArrowException, match="2 statements run already"):
            client.do_get(ticket(client, "SELECT 1")).read_all()
        assert server.metric("isobar_queries_overloaded_total") == 1
        readers[0].cancel()
        eventually(lambda: server.running() == 1, "one has ended")
        assert client.do_get(ticket(client, "SELECT 1")).read_all().num_rows == 1
        readers[1].cancel()


# Clients of one process share a connection by default.
ALONE = [("grpc.use_local_subchannel_pool", 1)]


def test_connections_are_limited(isobar_alone):
    with Server(isobar_alone, ISOBAR__SERVE__CONNECTIONS_MAX="2") as server, contextlib.ExitStack() as exits:

        def client() -> pyarrow.flight.FlightClient:
            return exits.enter_context(pyarrow.flight.connect(f"grpc://{server.flight}", generic_options=ALONE))

        def one(of: pyarrow.flight.FlightClient) -> int:
            return of.do_get(ticket(of, "SELECT 1")).read_all().num_rows

        first, second, third = client(), client(), client()
        assert one(first) == one(second) == 1
        with pytest.raises(pyarrow.ArrowException, match=r"2 connections are open already \(serve.connections_max\)"):
            one(third)
        assert server.metric("isobar_connections_refused_total") == 1
        assert one(first) == one(second) == 1, "those that have a place keep it"
        first.close()
        eventually(lambda: server.metric("isobar_connections") == 2, "one is closed")
        assert one(third) == 1, "on the same connection"


def test_flood_of_connections_is_closed(isobar_alone):
    with Server(isobar_alone, ISOBAR__SERVE__CONNECTIONS_MAX="1") as server, contextlib.ExitStack() as exits:
        host, port = server.flight.split(":")
        flood = [exits.enter_context(socket.create_connection((host, int(port)))) for _ in range(100)]
        eventually(lambda: server.metric("isobar_connections_refused_total") == 35, "what is too much is closed")
        assert server.metric("isobar_connections") == 65
        for connection in flood[65:]:
            connection.settimeout(60)
            assert connection.recv(1) == b""
        for connection in flood:
            connection.close()
        eventually(lambda: server.metric("isobar_connections") == 0, "all are closed")
        assert server.rows("SELECT 1 AS a") == [{"a": 1}]


def test_computing_statements_do_not_delay_others(isobar_alone):
    """More statements than cores, none of which yields for a while."""
    with Server(isobar_alone, ISOBAR__SERVE__QUERY_TIMEOUT="5s") as server, server.client() as client:
        tickets = [ticket(client, SILENT) for _ in range(2 * os.cpu_count())]
        with ThreadPoolExecutor(len(tickets)) as threads:
            ends = [threads.submit(lambda given: client.do_get(given).read_all(), given) for given in tickets]
            eventually(lambda: server.running() == len(tickets), "all run")
            assert server.get("/healthz")[0] == server.get("/readyz")[0] == 200
            assert client.get_flight_info(statement("SELECT 1 AS a")).schema.names == ["a"]
            for end in ends:
                with pytest.raises(pyarrow.flight.FlightTimedOutError):
                    end.result()


def test_memory_is_bounded_for_a_slow_client(server, figures):
    with server.client() as client:
        client.do_get(ticket(client, "SELECT 1")).read_all()
        before = server.resident_bytes()
        reader = client.do_get(ticket(client, ENDLESS))
        most = 0
        for _ in range(200):
            reader.read_chunk()
            most = max(most, server.resident_bytes())
        # The client stops reading, and the server must not continue.
        sent = [server.metric("isobar_sent_bytes_total")]
        eventually(lambda: unchanged(sent, server.metric("isobar_sent_bytes_total")), "nothing more is sent")
        most = max(most, server.resident_bytes())
        reader.cancel()
    all_ended(server)
    figures.record("serve: memory above idle while a slow client reads 640 GB", f"{(most - before) / MIB:.0f} MiB")
    assert most - before < 256 * MIB


def unchanged(seen: list[float], now: float) -> bool:
    """Whether the last thirty samples are equal."""
    seen.append(now)
    return len(seen) > 30 and len(set(seen[-30:])) == 1


def test_memory_for_values_and_prepared_statements_is_bounded(isobar_alone):
    with Server(isobar_alone, ISOBAR__SERVE__PREPARED_MAX="2") as server, server.client() as client:
        handles = [prepare(client, f"SELECT {n} AS n") for n in range(3)]
        with pytest.raises(pyarrow.ArrowKeyError, match="prepare it again"):
            fetch(client, handles[0])
        assert [fetch(client, handle).to_pylist() for handle in handles[1:]] == [[{"n": 1}], [{"n": 2}]]
        close = packed("ActionClosePreparedStatementRequest", {1: handles[1]})
        assert list(client.do_action(pyarrow.flight.Action("ClosePreparedStatement", close))) == []
        with pytest.raises(pyarrow.ArrowKeyError):
            fetch(client, handles[1])
    with Server(isobar_alone) as server, server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT length(?) AS n", ("x" * 900_000,))
        assert cursor.fetchone() == (900_000,)
        with pytest.raises(Exception, match="values of one statement"):
            cursor.execute("SELECT length(?) AS n", ("x" * 1_100_000,))


@pytest.mark.parametrize("packing", ["lz4", "zstd"])
def test_compressed_values_are_refused(server, packing):
    """A reader would allocate the decompressed size that the message claims."""
    values = pyarrow.table({"1": ["x" * 10_000]})
    with server.client() as client:
        handle = prepare(client, "SELECT length($1) AS n")
        assert bound(client, handle, values, None).to_pylist() == [{"n": 10_000}]
        with pytest.raises(pyarrow.ArrowInvalid, match="compressed"):
            bound(client, handle, values, packing)
        with pytest.raises(pyarrow.ArrowInvalid, match="one row"):
            bound(client, handle, pyarrow.table({"1": ["x", "y"]}), None)
        assert fetch(client, handle).to_pylist() == [{"n": 10_000}]


def bound(
    client: pyarrow.flight.FlightClient, handle: bytes, values: pyarrow.Table, packing: str | None
) -> pyarrow.Table:
    command = pyarrow.flight.FlightDescriptor.for_command(packed("CommandPreparedStatementQuery", {1: handle}))
    options = pyarrow.flight.FlightCallOptions(write_options=pyarrow.ipc.IpcWriteOptions(compression=packing))
    writer, reader = client.do_put(command, values.schema, options=options)
    with writer:
        writer.write_table(values)
        writer.done_writing()
        reader.read()
    return fetch(client, handle)


def prepare(client: pyarrow.flight.FlightClient, sql: str) -> bytes:
    request = packed("ActionCreatePreparedStatementRequest", {1: sql})
    [result] = client.do_action(pyarrow.flight.Action("CreatePreparedStatement", request))
    envelope = fields(result.body.to_pybytes())
    return fields(envelope[2][0])[1][0]


def fetch(client: pyarrow.flight.FlightClient, handle: bytes) -> pyarrow.Table:
    command = packed("CommandPreparedStatementQuery", {1: handle})
    [endpoint] = client.get_flight_info(pyarrow.flight.FlightDescriptor.for_command(command)).endpoints
    return client.do_get(endpoint.ticket).read_all()


def test_ticket_is_valid_at_another_server(isobar_alone):
    """The server keeps no state between schema and rows."""
    with Server(isobar_alone) as first, first.client() as client:
        given = ticket(client, "SELECT 42 AS n")
    with Server(isobar_alone) as second, second.client() as client:
        assert client.do_get(given).read_all().to_pylist() == [{"n": 42}]


def test_signal_lets_running_statements_end(server):
    rows = 3_000_000
    with server.client() as client:
        sql = f"SELECT value, value * 2 AS twice FROM generate_series(1, {rows})"
        reader = client.do_get(ticket(client, sql))
        read = reader.read_chunk().data.num_rows
        server.stop()
        server.wait_for("stopping")
        status, reason = server.get("/readyz")
        assert status == 503 and "stopped" in reason
        with server.client() as late, pytest.raises(pyarrow.flight.FlightError):
            ticket(late, "SELECT 1")
        read += sum(chunk.data.num_rows for chunk in reader)
    assert read == rows
    assert server.ended() == 0


@pytest.mark.parametrize("sql", [ENDLESS, SILENT], ids=["streaming", "silent"])
def test_endless_statement_delays_shutdown_until_the_deadline(isobar_alone, sql):
    with Server(isobar_alone, ISOBAR__SERVE__SHUTDOWN_DEADLINE="1s") as server, server.client() as client:
        reader = client.do_get(ticket(client, sql))
        eventually(lambda: server.running() == 1, "it runs")
        server.stop()
        server.wait_for("cancelled statements that did not end in time")
        with pytest.raises(pyarrow.ArrowException):
            for _ in reader:
                pass
        assert server.ended() == 0


def test_idle_service_ends_at_the_signal(server):
    with server.client() as client:
        client.do_get(ticket(client, "SELECT 1")).read_all()
        server.stop()
        assert server.ended() == 0
