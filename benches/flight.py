"""How fast `isobar serve` streams rows from the lake, against a bare pyarrow Flight server that has them in memory.

Claim, over 10 million rows of five columns in a Delta table on a local disk, one client, the same client for both: at
least half the bytes a second. The rows are compared before anything is timed for the record.
"""

import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight
from comparison import Comparison, Timing, arguments, as_percent, per_second, say
from support.binary import Isobar
from support.flight import Server, statement

TABLE, FILES = "measurements", 8
TARGET = 0.5
# Rows of a batch of the bare server: about 2 MB, as in `isobar serve`.
CHUNK_ROWS = 1 << 15


class Bare(pyarrow.flight.FlightServerBase):
    """Sends one table from memory for every request."""

    def __init__(self, rows: pa.Table):
        super().__init__("grpc://127.0.0.1:0")
        self._batches = rows.to_batches(max_chunksize=CHUNK_ROWS)

    def do_get(self, _context, _ticket):
        rows = pa.RecordBatchReader.from_batches(self._batches[0].schema, self._batches)
        return pyarrow.flight.RecordBatchStream(rows)


def main() -> int:
    given = arguments(__doc__, rows=10_000_000, rounds=7)
    with tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        timings, size = measure(given.binary, Path(directory), given.rows, given.rounds)
    comparison = Comparison(
        suite="flight",
        title="Streaming over Flight against a server from memory",
        work=f"{given.rows} rows of 5 columns, {size / 1e6:.0f} MB, one client",
        against="of the bare server",
        speed_in_words=as_percent,
        median_in_words=per_second(size / 1e6, "MB"),
    )
    return comparison.report(timings, kept=given.kept)


def measure(binary: str, directory: Path, rows: int, rounds: int) -> tuple[list[Timing], int]:
    """Returns the times, and the bytes that each round streams."""
    write_lake(directory / "lake" / TABLE, rows)
    variables = {
        "ISOBAR__LAKE__URL": f"file://{directory}/lake",
        "ISOBAR__EXPORT__BASE_PATH": f"file://{directory}/export",
    }
    parent, child = multiprocessing.Pipe()
    # A new interpreter: a fork would inherit the threads of gRPC.
    bare = multiprocessing.get_context("spawn").Process(target=serve_bare, args=(directory / "lake" / TABLE, child))
    bare.start()
    try:
        with Server(Isobar(binary, directory / "work", variables)) as server:
            ours = pyarrow.flight.connect(f"grpc://{server.flight}")
            theirs = pyarrow.flight.connect(f"grpc://127.0.0.1:{parent.recv()}")
            return compare(ours, theirs, rows, rounds)
    finally:
        bare.kill()
        bare.join()


def write_lake(path: Path, rows: int) -> None:
    """Writes many files, as a landing does."""
    started = time.perf_counter()
    each = rows // FILES
    for n in range(FILES):
        deltalake.write_deltalake(path, part(n * each, each if n < FILES - 1 else rows - n * each), mode="append")
    say(f"{rows} rows in {FILES} files written in {time.perf_counter() - started:.0f} s")


def part(first: int, count: int) -> pa.Table:
    index = pa.array(range(first, first + count), pa.int64())
    scattered = pc.bit_wise_and(pc.multiply(index, 2_654_435_761), 0xFFFF)
    names = pa.array([f"city {n:03}" for n in range(256)])
    microseconds = pc.add(pc.multiply(index, 1_000_000), 1_767_225_600_000_000)
    return pa.table(
        {
            "id": index,
            "event_time": pc.cast(microseconds, pa.timestamp("us", "UTC")),
            "city": names.take(pc.bit_wise_and(scattered, 0xFF)),
            "temp": pc.subtract(pc.divide(pc.cast(scattered, pa.float64()), 1000.0), 20.0),
            "pressure": pc.add(pc.divide(pc.cast(scattered, pa.float64()), 500.0), 950.0),
        }
    )


def serve_bare(path: Path, ready: Connection) -> None:
    server = Bare(deltalake.DeltaTable(path).to_pyarrow_table())
    ready.send(server.port)
    server.serve()


def compare(
    ours: pyarrow.flight.FlightClient, theirs: pyarrow.flight.FlightClient, rows: int, rounds: int
) -> tuple[list[Timing], int]:
    [endpoint] = ours.get_flight_info(statement(f"SELECT * FROM {TABLE}")).endpoints
    mine, bare = endpoint.ticket, pyarrow.flight.Ticket(b"")
    assert digest(ours, mine) == digest(theirs, bare), "the two servers send different rows"
    times: tuple[list[float], list[float]] = ([], [])
    size = 0
    for n in range(rounds):
        for client, ticket, into in ((theirs, bare, times[0]), (ours, mine, times[1])):
            started = time.perf_counter()
            count, size = drain(client, ticket)
            into.append(time.perf_counter() - started)
            assert count == rows
        say(f"round {n + 1}: bare {times[0][-1]:.2f} s, isobar {times[1][-1]:.2f} s")
    timings = [
        Timing("bare pyarrow Flight server, rows in memory", times[0]),
        Timing("`isobar serve`, `SELECT *` over the lake on a local disk", times[1], TARGET),
    ]
    return timings, size


def drain(client: pyarrow.flight.FlightClient, ticket: pyarrow.flight.Ticket) -> tuple[int, int]:
    """Reads a result, and returns its rows and bytes."""
    rows = size = 0
    for chunk in client.do_get(ticket):
        rows += chunk.data.num_rows
        size += chunk.data.nbytes
    return rows, size


def digest(client: pyarrow.flight.FlightClient, ticket: pyarrow.flight.Ticket) -> tuple:
    """A digest of the rows that does not depend on their order."""
    rows = client.do_get(ticket).read_all()
    sums = (pc.sum(rows[name]).as_py() for name in ("id", "temp", "pressure"))
    cities = sorted((row["values"], row["counts"]) for row in pc.value_counts(rows["city"]).to_pylist())
    times = pc.min_max(rows["event_time"]).as_py()
    return rows.num_rows, rows.schema.names, *(round(value, 3) for value in sums), cities, times


if __name__ == "__main__":
    sys.exit(main())
