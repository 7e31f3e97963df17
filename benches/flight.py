"""How fast `isobar serve` streams rows from the lake, against a bare pyarrow Flight server that has them in memory.

Claim, over 10 million rows of five columns in a Delta table on a local disk, one client, the same client for both: at
least half the bytes a second. The rows are compared before anything is timed for the record.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))

from support import figures  # noqa: E402
from support.binary import Isobar  # noqa: E402
from support.flight import Server, statement  # noqa: E402

TABLE, FILES = "measurements", 8
SHARE = 0.5
# What the bare server sends at once; about 2 MB, as we do.
CHUNK_ROWS = 1 << 15


@dataclass(frozen=True)
class Timing:
    what: str
    seconds: list[float]
    size: int

    @property
    def rate(self) -> float:
        """MB/s of the median round."""
        return self.size / statistics.median(self.seconds) / 1e6

    def cells(self, bare: "Timing") -> tuple[str, ...]:
        spread = f"{min(self.seconds):.2f} to {max(self.seconds):.2f} s, {len(self.seconds)} rounds"
        if self is bare:
            return self.what, f"{self.rate:.0f} MB/s", spread, "", ""
        verdict = "met" if self.rate >= SHARE * bare.rate else "MISSED"
        return self.what, f"{self.rate:.0f} MB/s", spread, f"{self.rate / bare.rate:.0%}", f"{SHARE:.0%}: {verdict}"


class Bare(pyarrow.flight.FlightServerBase):
    """Sends one table from memory to whoever asks for anything."""

    def __init__(self, rows: pa.Table):
        super().__init__("grpc://127.0.0.1:0")
        self._batches = rows.to_batches(max_chunksize=CHUNK_ROWS)

    def do_get(self, _context, _ticket):
        rows = pa.RecordBatchReader.from_batches(self._batches[0].schema, self._batches)
        return pyarrow.flight.RecordBatchStream(rows)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--try-out", action="store_true", help="any size; neither judged nor kept")
    given = arguments.parse_args()
    binary = os.environ.get("ISOBAR_BIN")
    if not binary:
        arguments.error("ISOBAR_BIN names no binary: run `make bench`")
    with tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        timings = measure(binary, Path(directory), given.rows, given.rounds)
    return report(timings, given.rows, kept=not given.try_out)


def measure(binary: str, directory: Path, rows: int, rounds: int) -> list[Timing]:
    write_lake(directory / "lake" / TABLE, rows)
    variables = {
        "ISOBAR__LAKE__URL": f"file://{directory}/lake",
        "ISOBAR__EXPORT__BASE_PATH": f"file://{directory}/export",
    }
    parent, child = multiprocessing.Pipe()
    # A new interpreter: a forked one would inherit gRPC's threads.
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
    """Many files, as landing leaves them."""
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
) -> list[Timing]:
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
    return [
        Timing("bare pyarrow Flight server, rows in memory", times[0], size),
        Timing("`isobar serve`, `SELECT *` over the lake on a local disk", times[1], size),
    ]


def drain(client: pyarrow.flight.FlightClient, ticket: pyarrow.flight.Ticket) -> tuple[int, int]:
    """Rows and bytes of a result that nobody keeps."""
    rows = size = 0
    for chunk in client.do_get(ticket):
        rows += chunk.data.num_rows
        size += chunk.data.nbytes
    return rows, size


def digest(client: pyarrow.flight.FlightClient, ticket: pyarrow.flight.Ticket) -> tuple:
    """What two streams of the same rows agree in, in whatever order they come."""
    rows = client.do_get(ticket).read_all()
    sums = (pc.sum(rows[name]).as_py() for name in ("id", "temp", "pressure"))
    cities = sorted((row["values"], row["counts"]) for row in pc.value_counts(rows["city"]).to_pylist())
    times = pc.min_max(rows["event_time"]).as_py()
    return rows.num_rows, rows.schema.names, *(round(value, 3) for value in sums), cities, times


def report(timings: list[Timing], rows: int, *, kept: bool) -> int:
    [bare, ours] = timings
    head = ["what", "median", "from to", "of the bare server", "target"]
    table = figures.table(head, [timing.cells(bare) for timing in timings])
    data = f"{rows} rows of 5 columns, {bare.size / 1e6:.0f} MB, one client"
    print(f"{figures.provenance()}\n{data}\n\n{table}")
    if not kept:
        return 0
    title = "Streaming over Flight against a server from memory (`make bench`)"
    figures.keep("bench:flight", title, f"{data}\n\n{table}")
    missed = ours.rate < SHARE * bare.rate
    if missed:
        say(f"target missed: {ours.what}")
    return 1 if missed else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
