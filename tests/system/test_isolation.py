"""No statement stops the others: endless joins, statements that are too large to plan, endless functions."""

import contextlib
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import adbc_driver_manager
import deltalake
import pyarrow as pa
import pytest

from support import handmade
from support.flight import Server
from support.web import eventually

LONG = bool(os.environ.get("ISOBAR_TEST_LONG"))
# 300,000² pairs take hours, and are just below the limit of estimated pairs.
ROWS = 300_000
LIMIT_S = 30 if LONG else 8
# Each occupies a thread for hours unless it yields.
STUCK = {
    "nested_loop": "SELECT count(*) FROM orders a, orders b WHERE a.price + b.price = 5",
    "cross": "SELECT sum(a.price * b.price) FROM orders a CROSS JOIN orders b",
    "left": "SELECT count(*) FROM orders a LEFT JOIN orders b ON a.price > b.price * 2 + a.customer + 1000000",
    "right": "SELECT count(*) FROM orders a RIGHT JOIN orders b ON a.price > b.price * 2 + a.customer + 1000000",
    "full": "SELECT count(*) FROM orders a FULL JOIN orders b ON a.price > b.price * 2 + a.customer + 1000000",
    "theta": "SELECT count(*) FROM orders a JOIN orders b ON a.id < b.id AND a.price < b.price - 1000000",
    "many_to_many": "SELECT count(*) FROM orders a JOIN orders b ON a.line = b.line AND a.price > b.price + 1000000",
    "anti": "SELECT count(*) FROM orders a WHERE NOT EXISTS (SELECT 1 FROM orders b WHERE a.line = b.line "
    "AND a.price > b.price + 1000000)",
}


def chain(count: int, query: str) -> str:
    """Names of WITH, each selected from the previous one."""
    names = ", ".join(f"c{n} AS ({query.format(before=f'c{n - 1}')})" for n in range(1, count + 1))
    return f"WITH c0 AS (SELECT 'x' AS x), {names} SELECT count(*) FROM c{count}"


def columns(count: int) -> str:
    return ", ".join(f"id + {n}" for n in range(count))


def nested(levels: int) -> str:
    return "SELECT id FROM orders WHERE id IN (" * levels + "SELECT id FROM orders" + ")" * levels


# Short statements that use up memory or time, and the expected refusals.
REFUSED = {
    "union_of_names": (chain(24, "SELECT x FROM {before} UNION ALL SELECT x FROM {before}"), "WITH"),
    "fewer_names": (chain(18, "SELECT x FROM {before} UNION ALL SELECT x FROM {before}"), "WITH"),
    "self_joins": (chain(20, "SELECT a.x FROM {before} a JOIN {before} b ON a.x = b.x"), "WITH"),
    "doubled_text": (chain(40, "SELECT x || x AS x FROM {before}").replace("count(*)", "max(length(x))"), "64MiB"),
    "recursive_text": (
        "WITH RECURSIVE t AS (SELECT 'x' AS n UNION ALL SELECT n || n FROM t) SELECT max(length(n)) FROM t",
        "64MiB",
    ),
    "cube_40": (f"SELECT count(*) FROM orders GROUP BY CUBE ({columns(40)})", "GROUPING SETS"),
    "cube_22": (f"SELECT count(*) FROM orders GROUP BY CUBE ({columns(22)})", "GROUPING SETS"),
    "range": ("SELECT range(0, 10000000000)", "range()"),
    "replace": ("SELECT length(replace(repeat('a', 100000), 'a', repeat('b', 10000)))", "replace()"),
    "repeat": ("SELECT length(repeat('abcdefgh', 100000000))", "repeat()"),
    "lpad": ("SELECT length(lpad('a', 2000000000, 'b'))", "lpad()"),
    "levenshtein": ("SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))", "levenshtein()"),
    "window_of_lists": (
        "SELECT max(array_length(a)) FROM (SELECT array_agg(price) OVER () AS a FROM orders) AS lists",
        "one partition",
    ),
    "array_has_all": ("SELECT array_has_all(range(1, 150000), range(1, 150000))", "array_has_all()"),
    "array_repeat": ("SELECT array_repeat(1, 10000000000)", "array_repeat()"),
    "nesting": (nested(15), "WITH"),
    "pairs": ("SELECT count(*) FROM orders a, orders b, orders c WHERE a.id + b.id + c.id = 5", "query.max_join_pairs"),
}


@pytest.fixture(scope="module")
def over_orders(lakes):
    lake = lakes.new("local")
    rows = pa.table({
        "id": pa.array(range(ROWS)),
        "customer": pa.array([n % 1000 for n in range(ROWS)]),
        "line": pa.array([n % 7 for n in range(ROWS)]),
        "price": pa.array([float(n * 7919 % 500_000) for n in range(ROWS)]),
    })
    deltalake.write_deltalake(lake.place.lake_url + "/orders", rows)
    return lake.isobar


@pytest.fixture(scope="module")
def server(over_orders) -> Iterator[Server]:
    with Server(over_orders, ISOBAR__SERVE__QUERY_TIMEOUT=f"{LIMIT_S}s", ISOBAR__QUERY__MEMORY="4GiB") as server:
        yield server


def failure(server: Server, sql: str) -> str:
    with pytest.raises(adbc_driver_manager.Error) as raised:
        server.rows(sql)
    return str(raised.value)


def cpu_s(server: Server) -> float:
    ticks = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def asking(server: Server) -> Iterator[list[float]]:
    """Durations of consecutive `SELECT 1` statements during the block."""
    took: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with server.connect() as connection, connection.cursor() as cursor:
            while not ended.is_set():
                started = time.monotonic()
                cursor.execute("SELECT 1 AS a")
                assert cursor.fetchall() == [(1,)]
                took.append(time.monotonic() - started)

    with ThreadPoolExecutor(1) as pool:
        asker = pool.submit(ask)
        try:
            yield took
        finally:
            ended.set()
            asker.result()


def test_endless_joins_do_not_delay_other_statements(server):
    with asking(server) as took, ThreadPoolExecutor(len(STUCK)) as pool:
        asked = {name: pool.submit(failure, server, sql) for name, sql in STUCK.items()}
        eventually(lambda: server.running() >= len(STUCK), "all joins run")
        answered = len(took)
        assert server.get("/readyz")[0] in (200, 503)
        for name, future in asked.items():
            assert "serve.query_timeout" in future.result(), name
    # Joins that occupy all threads would delay other statements until their end.
    assert len(took) > answered
    quantile = statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0]
    print(f"{len(took)} SELECT 1 beside {len(STUCK)} stuck joins: p99 {quantile:.3f} s")
    eventually(lambda: server.running() == 0, "no join runs any more")
    if LONG:
        assert quantile < 1
        before = cpu_s(server)
        time.sleep(2)
        assert cpu_s(server) - before < 0.2


@pytest.mark.parametrize("name", REFUSED)
def test_endless_statement_is_refused_by_name(server, name):
    sql, says = REFUSED[name]
    with asking(server):
        assert says in failure(server, sql)
    assert server.resident_bytes() < 6 << 30
    eventually(lambda: server.running() == 0, "it has really ended")


def test_shell_has_the_limits_of_the_service_and_runs_do_not(over_orders):
    sql, says = REFUSED["pairs"]
    over_orders.refused("sql", "-c", sql, code=1, says=["orders", says])
    allowed = over_orders.having(ISOBAR__QUERY__MAX_JOIN_PAIRS="18446744073709551615")
    allowed.ok("sql", "-c", f"EXPLAIN {sql}")


def test_nested_loop_join_beyond_its_memory_fails_and_answers_nothing(over_orders):
    """DataFusion 55.2 answers 0 when it spills the build side (apache/datafusion#24676)."""
    sql = "SELECT count(*) FROM orders a JOIN (SELECT a.id FROM orders a, range(40)) b ON a.id < b.id"
    small = over_orders.having(ISOBAR__QUERY__MEMORY="8MiB")
    small.refused("sql", "-c", sql, code=1, says=["query.memory"])


def test_new_statement_is_refused_above_the_memory_limit(over_orders):
    with Server(over_orders, ISOBAR__QUERY__RESIDENT_MAX="1MiB") as full:
        said = failure(full, "SELECT 1")
        assert "ResourceExhausted" in said and "query.resident_max" in said


def test_statement_that_holds_most_is_ended_for_its_memory_and_others_go_on(over_orders):
    """A window holds all rows of its input, which DataFusion's pool does not count."""
    texts = "SELECT id, repeat(CAST(id AS TEXT), 2000) AS t FROM orders"
    sql = f"SELECT max(length(t) + n) FROM (SELECT t, count(*) OVER () AS n FROM ({texts}) AS o) AS w"
    with Server(over_orders, ISOBAR__QUERY__RESIDENT_MAX="1GiB") as server:
        with asking(server) as took:
            said = failure(server, sql)
        assert "ResourceExhausted" in said and "ended for its memory" in said
        assert took
        server.wait_for("statement ended for its memory")
        eventually(lambda: server.running() == 0, "it has really ended")
        assert server.rows("SELECT count(*) AS n FROM orders") == [{"n": ROWS}]
    limited = over_orders.having(ISOBAR__QUERY__RESIDENT_MAX="1GiB")
    limited.refused("sql", "-c", sql, code=1, says=["ended for its memory", "query.resident_max"])


def test_list_of_long_texts_is_refused_by_the_pool(lakes):
    """DataFusion 55.2 counts sixteen bytes for a text of any length."""
    lake = lakes.new("local")
    texts = pa.table({"t": pa.array([f"{n:0300}" for n in range(100_000)])})
    deltalake.write_deltalake(lake.place.lake_url + "/texts", texts)
    small = lake.isobar.having(ISOBAR__QUERY__MEMORY="24MiB")
    small.refused("sql", "-c", "SELECT array_length(array_agg(t)) FROM texts", code=1, says=["Resources exhausted"])
    assert json.loads(
        lake.isobar.ok("sql", "--format", "json", "-c", "SELECT array_length(array_agg(t)) AS n FROM texts").stdout
    ) == {"n": 100_000}


def test_spill_files_of_a_killed_process_are_removed_by_the_next(over_orders, tmp_path):
    place = tmp_path / "spill"
    texts = "SELECT id, repeat(CAST(price AS TEXT), 20) AS t FROM orders"
    sorting = f"SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY t, id) AS r FROM ({texts}) o) s"
    settings = {"ISOBAR__QUERY__SPILL_PATH": str(place), "ISOBAR__QUERY__MEMORY": "32MiB"}

    def files() -> list[Path]:
        return [path for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"]

    with Server(over_orders, **settings) as killed, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(failure, killed, sorting)
        eventually(lambda: bool(files()), "it spills")
        killed.process.kill()
        asked.result()
    assert files()
    over_orders.having(**settings).ok("sql", "-c", "SELECT 1")
    assert list(place.iterdir()) == []


def test_join_does_not_wait_for_an_unread_partition(lakes):
    """Above it, a join ends early in the partition that the one key outside does not fall into (apache/datafusion#21625)."""
    lake = lakes.new("local")
    numbers = range(1000)
    rows = pa.table({
        "id": pa.array(numbers, pa.int64()),
        "k": pa.array([n % 7 for n in numbers], pa.int64()),
        "x": pa.array(numbers, pa.float64()),
    })
    # Without statistics, both joins could be large.
    handmade.write(lake.place, "readings", [handmade.File(rows)])
    below = "SELECT max(r.x) FROM readings r WHERE r.k = l.k AND r.x < l.k * 100"
    sql = f"SELECT l.id, ({below}) AS below FROM readings l WHERE l.id = 10"
    limited = lake.isobar.having(ISOBAR__SQL__TIMEOUT="20s")
    assert json.loads(limited.ok("sql", "--format", "json", "-c", sql).stdout) == {"id": 10, "below": 297.0}
