"""Statements of PostgreSQL, DuckDB and Spark: each has its expected rows, alone and wrapped.

The expected rows are by hand, and also compared with DuckDB if it supports the statement.
"""

import contextlib
from collections.abc import Iterator

import duckdb
import pytest

from support.flight import Server
from support.lake import Lake

O = "(VALUES (1, 1), (2, 5), (3, NULL)) AS o(id, x)"
I = "(VALUES (1), (2)) AS i(k)"
N = "(VALUES (1), (NULL)) AS n(k)"
L = "(VALUES (1, 'a1'), (2, 'a2')) AS l(k, a)"
R = "(VALUES (2, 'b2'), (3, 'b3')) AS r(k, b)"
L2, R2 = L.replace(" AS l", " AS l2"), R.replace(" AS r", " AS r2")
G = "(VALUES ('a', 1), ('a', 2), ('b', 3), ('b', NULL)) AS g(c, v)"

# Statement, and rows in order. All columns are named, so that the statement can be wrapped.
RIGHT = {
    "FULL JOIN USING": (f"SELECT k, a, b FROM {L} FULL JOIN {R} USING (k) ORDER BY k", [(1, "a1", None), (2, "a2", "b2"), (3, None, "b3")]),
    "RIGHT JOIN USING": (f"SELECT k, a, b FROM {L} RIGHT JOIN {R} USING (k) ORDER BY k", [(2, "a2", "b2"), (3, None, "b3")]),
    "FULL JOIN USING of *": (f"SELECT * FROM {L} FULL JOIN {R} USING (k) ORDER BY k", [(1, "a1", None), (2, "a2", "b2"), (3, None, "b3")]),
    "NATURAL RIGHT JOIN of *": (f"SELECT * FROM {L} NATURAL RIGHT JOIN {R} ORDER BY k", [(2, "a2", "b2"), (3, None, "b3")]),
    "FULL JOIN USING, grouped": (f"SELECT k, count(*) AS n FROM {L} FULL JOIN {R} USING (k) GROUP BY k HAVING k > 1 ORDER BY k", [(2, 1), (3, 1)]),
    "FULL JOIN USING, filtered": (f"SELECT k, b FROM {L} FULL JOIN {R} USING (k) WHERE k = 3", [(3, "b3")]),
    "FULL JOIN USING over three": (
        f"SELECT k, a, b, c FROM {L} FULL JOIN {R} USING (k) FULL JOIN (VALUES (3, 'c3'), (4, 'c4')) AS z(k, c) USING (k) ORDER BY k DESC",
        [(4, None, None, "c4"), (3, None, "b3", "c3"), (2, "a2", "b2", None), (1, "a1", None, None)],
    ),
    "the sides of FULL JOIN USING": (f"SELECT l.k AS lk, r.k AS rk FROM {L} FULL JOIN {R} USING (k) ORDER BY coalesce(l.k, r.k)", [(1, None), (2, 2), (None, 3)]),
    "FULL JOIN USING in a subquery that is correlated": (
        f"SELECT k, (SELECT max(i.k) FROM {I} WHERE i.k <= q.k) AS m FROM (SELECT k FROM {L} FULL JOIN {R} USING (k)) AS q ORDER BY k",
        [(1, 1), (2, 2), (3, 2)],
    ),
    "NOT IN below OR": (f"SELECT id FROM {O} WHERE x NOT IN (SELECT k FROM {I}) OR id < 0 ORDER BY id", [(2,)]),
    "NOT IN below OR, a null in the list": (f"SELECT id FROM {O} WHERE x NOT IN (SELECT k FROM {N}) OR id < 0 ORDER BY id", []),
    "NOT IN of a constant": (f"SELECT id FROM {O} WHERE 5 NOT IN (SELECT k FROM {N})", []),
    "NOT (IN AND)": (f"SELECT id FROM {O} WHERE NOT (x IN (SELECT k FROM {I}) AND id > 0) ORDER BY id", [(2,)]),
    "IN IS NULL": (f"SELECT id FROM {O} WHERE (x IN (SELECT k FROM {I})) IS NULL OR id < 0", [(3,)]),
    "IN of no rows": (f"SELECT id FROM {O} WHERE (x IN (SELECT k FROM {I} WHERE k > 9)) IS NULL OR id < 0", []),
    "coalesce of IN": (f"SELECT id FROM {O} WHERE coalesce(x IN (SELECT k FROM {I}), true) ORDER BY id", [(1,), (3,)]),
    "a row in a subquery": (f"SELECT id FROM {O} WHERE (id, x) IN (SELECT k, k FROM {I}) ORDER BY id", [(1,)]),
    "a row not in a subquery": (f"SELECT id FROM {O} WHERE (id, x) NOT IN (SELECT k, k FROM {I}) ORDER BY id", [(2,), (3,)]),
    "plain NOT IN": (f"SELECT id FROM {O} WHERE x NOT IN (SELECT k FROM {I}) ORDER BY id", [(2,)]),
    "plain NOT IN, correlated": (f"SELECT id FROM {O} WHERE x NOT IN (SELECT k FROM {N} WHERE k IS NULL OR k < o.id) ORDER BY id", []),
    "IN in the select list": (f"SELECT id, x IN (SELECT k FROM {N}) AS f FROM {O} ORDER BY id", [(1, True), (2, None), (3, None)]),
    "EXISTS in the select list": (f"SELECT id, EXISTS (SELECT 1 FROM {I} WHERE i.k = o.x) AS f FROM {O} ORDER BY id", [(1, True), (2, False), (3, False)]),
    "EXISTS of nothing outside": (f"SELECT id, EXISTS (SELECT 1 FROM {I} WHERE k > 5) AS f FROM {O} ORDER BY id", [(1, False), (2, False), (3, False)]),
    "ORDER BY of IN": (f"SELECT id FROM {O} ORDER BY x IN (SELECT k FROM {I}) NULLS FIRST, id", [(3,), (2,), (1,)]),
    "IN in the condition of a join": (f"SELECT id, k FROM {O} JOIN {I} ON k = id AND x IN (SELECT k FROM {I})", [(1, 1)]),
    "EXISTS over rows that LIMIT chooses": (f"SELECT EXISTS (SELECT 1 FROM {I} WHERE i.k >= q.id) AS f FROM (SELECT id FROM {O} ORDER BY id LIMIT 1) AS q", [(True,)]),
    "IN over a window": (f"SELECT id, sum(CASE WHEN x IN (SELECT k FROM {I}) THEN 1 ELSE 0 END) OVER (ORDER BY id) AS n FROM {O} ORDER BY id", [(1, 1), (2, 1), (3, 1)]),
    "> ALL in the select list": (f"SELECT id, x > ALL (SELECT k FROM {I}) AS f, x > ALL (SELECT k FROM {N}) AS g, x < ANY (SELECT k FROM {N}) AS h FROM {O} ORDER BY id", [(1, False, False, None), (2, True, None, None), (3, None, None, None)]),
    "a window in a correlated subquery": (
        f"SELECT id, (SELECT n FROM (SELECT k, row_number() OVER (ORDER BY k) AS n FROM {I} WHERE k <= o.id) AS w ORDER BY n DESC LIMIT 1) AS n FROM {O} ORDER BY id",
        [(1, 1), (2, 2), (3, 2)],
    ),
    "SEMI and ANTI JOIN": (f"SELECT a FROM {L} SEMI JOIN {R} USING (k) UNION ALL SELECT a FROM {L2} ANTI JOIN {R2} USING (k) ORDER BY a", [("a1",), ("a2",)]),
    "quantile_disc": (f"SELECT quantile_disc(v, 0.5) AS a, percentile_disc(0.5) WITHIN GROUP (ORDER BY v DESC) AS b FROM (VALUES (1), (2), (3), (4), (NULL)) AS t(v)", [(2, 3)]),
    "subqueries in a subquery": (
        f"SELECT id FROM {O} WHERE EXISTS (SELECT 1 FROM {I} WHERE i.k = o.x AND i.k IN (SELECT n.k FROM {N} WHERE n.k = o.id)) OR id = 3 ORDER BY id",
        [(1,), (3,)],
    ),
    "IN in an aggregate": (f"SELECT sum(CASE WHEN x IN (SELECT k FROM {I}) THEN 1 ELSE 0 END) AS n FROM {O}", [(1,)]),
    "EXISTS in CASE and GROUP BY": (
        f"SELECT CASE WHEN EXISTS (SELECT 1 FROM {I} WHERE i.k = o.x) THEN 'y' ELSE 'n' END AS f, count(*) AS n FROM {O} GROUP BY 1 ORDER BY 1",
        [("n", 2), ("y", 1)],
    ),
    "EXISTS of an aggregate": (f"SELECT id FROM {O} WHERE EXISTS (SELECT count(*) FROM {I} WHERE i.k = o.x) ORDER BY id", [(1,), (2,), (3,)]),
    "NOT EXISTS of an aggregate": (f"SELECT id FROM {O} WHERE NOT EXISTS (SELECT max(k) FROM {I} WHERE i.k = o.x)", []),
    "EXISTS of groups": (f"SELECT id FROM {O} WHERE EXISTS (SELECT count(*) FROM {I} WHERE i.k = o.x HAVING count(*) > 0) ORDER BY id", [(1,)]),
    "a correlated scalar by <": (f"SELECT id, (SELECT max(k) FROM {I} WHERE i.k < o.x) AS m FROM {O} ORDER BY id", [(1, None), (2, 2), (3, None)]),
    "a correlated count by <": (f"SELECT id, (SELECT count(*) FROM {I} WHERE i.k < o.x) AS m FROM {O} ORDER BY id", [(1, 0), (2, 2), (3, 0)]),
    "a correlated scalar with LIMIT": (f"SELECT id, (SELECT k FROM {I} WHERE i.k <= o.x ORDER BY k DESC LIMIT 1) AS m FROM {O} ORDER BY id", [(1, 1), (2, 2), (3, None)]),
    "a correlated scalar in WHERE by <": (f"SELECT id FROM {O} WHERE (SELECT count(*) FROM {I} WHERE i.k < o.x) = 0 ORDER BY id", [(1,), (3,)]),
    "a correlated scalar over UNION ALL": (
        f"SELECT id, (SELECT sum(k) FROM (SELECT k FROM {I} WHERE k < o.id UNION ALL SELECT k FROM {I} WHERE k = o.id) AS u) AS m FROM {O} ORDER BY id",
        [(1, 1), (2, 3), (3, 3)],
    ),
    "a correlated scalar over DISTINCT": (f"SELECT id, (SELECT count(*) FROM (SELECT DISTINCT k FROM {I} WHERE k <> o.id) AS d) AS m FROM {O} ORDER BY id", [(1, 1), (2, 1), (3, 2)]),
    "a correlated scalar in an aggregate": (f"SELECT sum((SELECT count(*) FROM {I} WHERE i.k < o.x)) AS n FROM {O}", [(2,)]),
    "lag IGNORE NULLS": (
        "SELECT n, lag(v IGNORE NULLS) OVER (ORDER BY n) AS r FROM (VALUES (1, 10), (2, NULL), (3, 30), (4, NULL), (5, 50)) AS t(n, v) ORDER BY n",
        [(1, None), (2, 10), (3, 10), (4, 30), (5, 30)],
    ),
    "GROUP BY and ORDER BY 1 with a cast": (f"SELECT CAST(c AS VARCHAR) AS c, count(*) AS n FROM {G} GROUP BY CAST(c AS VARCHAR) ORDER BY 1", [("a", 2), ("b", 2)]),
    "FETCH FIRST": (f"SELECT id FROM {O} ORDER BY id FETCH FIRST 2 ROWS ONLY", [(1,), (2,)]),
    "OFFSET and FETCH NEXT": (f"SELECT id FROM {O} ORDER BY id OFFSET 1 ROWS FETCH NEXT ROW ONLY", [(2,)]),
    "ORDER BY ALL": (f"SELECT c, v FROM {G} ORDER BY ALL DESC NULLS LAST", [("b", 3), ("b", None), ("a", 2), ("a", 1)]),
    "GROUP BY ALL": (f"SELECT c, count(v) AS n FROM {G} GROUP BY ALL ORDER BY c", [("a", 2), ("b", 1)]),
    "parts of a day": (
        "SELECT year(d) AS y, quarter(d) AS q, month(d) AS m, day(d) AS dd, dayofyear(d) AS doy, hour(t) AS h, minute(t) AS mi, second(t) AS s FROM (SELECT DATE '2026-11-30' AS d, TIMESTAMP '2026-11-30 04:05:06' AS t) AS x",
        [(2026, 4, 11, 30, 334, 4, 5, 6)],
    ),
    "date_diff": (
        "SELECT date_diff('day', TIMESTAMP '2026-01-31 23:00:00', TIMESTAMP '2026-02-01 01:00:00') AS d, date_diff('month', DATE '2025-12-31', DATE '2026-02-01') AS m, datediff('week', DATE '2026-01-04', DATE '2026-01-12') AS w, date_diff('year', DATE '1969-12-31', DATE '1970-01-01') AS y, date_diff('hour', TIMESTAMP '1969-12-31 23:59:59', TIMESTAMP '1970-01-01 00:00:00') AS h",
        [(1, 2, 1, 1, 1)],
    ),
    "arg_max and its like": (
        f"SELECT c, arg_max(v, v) AS a, min_by(v, -v) AS b, max_by(c, v) AS d FROM {G} GROUP BY c ORDER BY c",
        [("a", 2, 2, "a"), ("b", 3, 3, "b")],
    ),
    "mode": ("SELECT mode(v) AS m FROM (VALUES (1), (2), (2), (NULL), (NULL), (NULL)) AS t(v)", [(2,)]),
    "mode by groups": ("SELECT g, mode(v) AS m FROM (VALUES ('a', 'x'), ('a', 'y'), ('a', 'y'), ('b', NULL)) AS t(g, v) GROUP BY g ORDER BY g", [("a", "y"), ("b", None)]),
    "count_if": (f"SELECT count_if(v > 1) AS n FROM {G}", [(2,)]),
    "group_concat": (f"SELECT group_concat(v ORDER BY v DESC) AS t FROM (SELECT CAST(v AS VARCHAR) AS v FROM {G}) AS s", [("3,2,1",)]),
    "listagg": (f"SELECT listagg(v, '-' ORDER BY v) AS t FROM (SELECT CAST(v AS VARCHAR) AS v FROM {G}) AS s", [("1-2-3",)]),
    "mod, sign, ceiling": ("SELECT mod(7, 3) AS m, mod(-7, 3) AS n, CAST(sign(-2) AS INTEGER) AS s, CAST(ceiling(1.2) AS INTEGER) AS c", [(1, -1, -1, 2)]),
    "if and len": ("SELECT if(1 < 2, 'y', 'n') AS i, len('é日') AS n, instr('abc', 'c') AS p", [("y", 2, 3)]),
    "strftime": ("SELECT strftime(TIMESTAMP '2026-11-30 04:05:06', '%Y/%m') AS a, strftime('%d', DATE '2026-11-30') AS b", [("2026/11", "30")]),
    "last_day": ("SELECT last_day(DATE '2028-02-10') AS d, CAST(last_day(DATE '2026-12-31') AS VARCHAR) AS t", None),
    "-> and ->>": ("""SELECT j->>'a' AS t, j->'b'->>'c' AS c FROM (SELECT '{"a": "x", "b": {"c": 1.5}}' AS j) AS q""", [("x", "1.5")]),
}

# Statements for Isobar only, and their rows by the documentation of their engine.
OURS = {
    "lead IGNORE NULLS": (
        "SELECT n, lead(v, 2, -1) IGNORE NULLS OVER (ORDER BY n) AS r FROM (VALUES (1, 10), (2, NULL), (3, 30), (4, NULL), (5, 50)) AS t(n, v) ORDER BY n",
        [(1, 50), (2, 50), (3, -1), (4, -1), (5, -1)],
    ),
    "ILIKE ANY": (f"SELECT a FROM {L} WHERE a ILIKE ANY ('%1', 'B%')", [("a1",)]),
    "OVERLAPS": (
        "SELECT (DATE '2026-01-01', DATE '2026-01-10') OVERLAPS (DATE '2026-01-09', DATE '2026-01-20') AS a, (DATE '2026-01-01', DATE '2026-01-10') OVERLAPS (DATE '2026-01-10', DATE '2026-01-20') AS b",
        [(True, False)],
    ),
    "date_add and datediff as Spark has them": (
        "SELECT CAST(date_add(DATE '2026-01-31', 1) AS VARCHAR) AS a, CAST(date_sub(DATE '2026-03-01', 1) AS VARCHAR) AS s, datediff(DATE '2026-03-01', DATE '2026-02-01') AS d",
        [("2026-02-01", "2026-02-28", 28)],
    ),
    "DATEDIFF with a bare unit": ("SELECT DATEDIFF(day, DATE '2026-02-01', DATE '2026-03-01') AS d", [(28,)]),
    "DATEADD with a bare unit": ("SELECT CAST(DATEADD(month, -1, DATE '2026-03-31') AS VARCHAR) AS d", None),
    "TOP": (f"SELECT TOP 2 id FROM {O} ORDER BY id", [(1,), (2,)]),
    "mode WITHIN GROUP": ("SELECT mode() WITHIN GROUP (ORDER BY v) AS m FROM (VALUES (1), (2), (2)) AS t(v)", [(2,)]),
    "mode of values that are as frequent": ("SELECT mode(v) AS m FROM (VALUES (3), (2), (2), (3)) AS t(v)", [(2,)]),
    "listagg WITHIN GROUP": ("SELECT listagg(v, '-') WITHIN GROUP (ORDER BY v DESC) AS t FROM (VALUES ('a'), ('b')) AS t(v)", [("b-a",)]),
    "collect_set": ("SELECT array_length(collect_set(v)) AS n FROM (VALUES (1), (1), (NULL)) AS t(v)", [(1,)]),
    "json_extract": ("""SELECT json_extract_scalar('{"m": {"l": [1, {"t": "é"}]}}', '$.m.l[1].t') AS t, json_get_int('{"a": 7}', 'a') AS n""", [("é", 7)]),
    "json_contains and a cast to JSON": ("""SELECT json_contains('{"a": 1}'::json, 'a') AS h, ('{"a": {"b": true}}'::jsonb -> 'a' ->> 'b') AS b""", [(True, "true")]),
    "-> of a bare column": ("""SELECT v -> 'a' ->> 'b' = 'x' AS f, v ->> 'c' AS c FROM (VALUES ('{"a": {"b": "x"}, "c": null}')) AS t(v)""", [(True, None)]),
    "width_bucket": ("SELECT width_bucket(5.35, 0.024, 10.06, 5) AS a, width_bucket(-1, 0, 10, 5) AS b, width_bucket(10, 0, 10, 5) AS c", [(3, 0, 6)]),
    "safe_divide": ("SELECT safe_divide(1, 0) AS a, safe_divide(1, 4) AS b", [(None, 0.25)]),
    "names of the place": ("SELECT current_schema() AS s, current_database() AS d, current_user AS u", [("lake", "isobar", "isobar")]),
    "localtimestamp": ("SELECT localtimestamp > TIMESTAMP '2020-01-01 00:00:00' AS f", [(True,)]),
}

# Statements with equal column names: names and rows of the result.
EQUAL = {
    "SELECT count(*), count(*) FROM (VALUES (1), (2)) AS t(a)": (["count(*)", "count(*)"], [(2, 2)]),
    "SELECT a, a FROM (VALUES (1), (2)) AS t(a) ORDER BY a": (["a", "a"], [(1, 1), (2, 2)]),
    "SELECT DISTINCT a, a FROM (VALUES (1), (2)) AS t(a) ORDER BY a DESC": (["a", "a"], [(2, 2), (1, 1)]),
    "SELECT 1 AS x, 2 AS x": (["x", "x"], [(1, 2)]),
    "SELECT 1 != 2, 1 <> 2": (None, [(True, True)]),
    "SELECT a, CAST(a AS BIGINT) FROM (VALUES (1)) AS t(a) ORDER BY 1": (None, [(1, 1)]),
    "SELECT * FROM (SELECT t.a, u.a FROM (VALUES (1)) AS t(a) JOIN (VALUES (1)) AS u(a) ON t.a = u.a) AS q": (["a", "a"], [(1, 1)]),
    "SELECT * FROM (VALUES (1, 2)) AS t(a, b) JOIN (VALUES (1, 3)) AS u(a, c) ON t.a = u.a": (["a", "b", "a", "c"], [(1, 2, 1, 3)]),
    "WITH q AS (SELECT * FROM (VALUES (1, 2)) AS t(a, b)) SELECT *, a FROM q": (["a", "b", "a"], [(1, 2, 1)]),
    "SELECT a, a FROM (VALUES (1)) AS t(a) UNION ALL SELECT a, a FROM (VALUES (2)) AS u(a) ORDER BY 1": (["a", "a"], [(1, 1), (2, 2)]),
    "SELECT a, a, count(*) FROM (VALUES (1), (1)) AS t(a) GROUP BY a": (["a", "a", "count(*)"], [(1, 1, 2)]),
    "SELECT row_number() OVER (ORDER BY a), row_number() OVER (ORDER BY a) FROM (VALUES (1)) AS t(a)": (None, [(1, 1)]),
    "SELECT 'a' AS a, a FROM (VALUES (1)) AS t(a)": (["a", "a"], [("a", 1)]),
    "SELECT -a AS a FROM (VALUES (1), (2)) AS t(a) ORDER BY t.a": (["a"], [(-1,), (-2,)]),
    "SELECT YEAR(d), d FROM (SELECT DATE '2026-01-02' AS d) AS t WHERE year(d) = 2026": (["year(d)", "d"], None),
    """SELECT j->>'A' FROM (SELECT '{"A": 1}' AS j) AS t""": (["j ->> 'A'"], [("1",)]),
    'SELECT 1 AS "", 2 AS ""': (["", ""], [(1, 2)]),
    "SELECT a AS n FROM (VALUES (1, 1)) AS t(a, b) WHERE (a, b) IN (SELECT k, k FROM (VALUES (1)) AS i(k))": (["n"], [(1,)]),
}

# Refused statements, and the expected texts.
REFUSED = {
    "VALUES (1) INTERSECT ALL VALUES (1)": "INTERSECT ALL is not there",
    "SELECT * FROM (VALUES (1) EXCEPT ALL VALUES (1)) AS q": "EXCEPT ALL is not there",
    f"SELECT count(*) FROM {O.replace(' AS o', ' AS o')} WHERE id IN (SELECT 1 FROM system.completeness TABLESAMPLE (10 PERCENT))": "TABLESAMPLE is not there",
    "SELECT a FROM (SELECT 1 AS a, 2 AS a) AS q": '"a" is ambiguous',
    "SELECT 1 AS k, 2 AS k ORDER BY k": '"k" is ambiguous',
    "SELECT * FROM (VALUES (1)) AS t(a) FULL JOIN (VALUES (1)) AS u(b) USING (a)": "USING is not in both tables",
    "SELECT dayofweek(DATE '2026-01-01')": "there is no function dayofweek; write date_part('dow', x)",
    "SELECT regexp_extract('a', 'b')": "write (regexp_match(x, pattern))[1]",
    "SELECT * FROM (VALUES (1)) AS t(a) FETCH FIRST 10 PERCENT ROWS ONLY": "FETCH FIRST takes a number of rows",
    "SET TIME ZONE 'Europe/Paris'": "SET TIME ZONE is not allowed here",
    "BEGIN": "BEGIN is not allowed here",
    "CREATE TEMPORARY TABLE mine (a INTEGER)": "CREATE TABLE is not allowed here",
    'SELECT orderid FROM (SELECT 1 AS "OrderId") AS q': 'did you mean "OrderId"? A name with capitals stands in quotes',
    f"SELECT id FROM {O} ORDER BY EXISTS (SELECT 1 FROM {I} WHERE i.k = o.x)": "give the subquery a name in the select list",
    "USE mine": "USE is not allowed here",
    "SELECT * FROM system.completeness PIVOT (sum(next_offset) FOR source IN ('kafka'))": "PIVOT is not there",
}


@pytest.fixture(scope="module")
def ask(lakes) -> Iterator:
    lake: Lake = lakes.new("local")
    with contextlib.ExitStack() as exits:
        server = exits.enter_context(Server(lake.isobar))
        connection = exits.enter_context(server.connect())

        def ask(sql: str) -> tuple[list[str], list[tuple]]:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                rows = cursor.fetchall()
                return [column[0] for column in cursor.description], rows

        yield ask


@pytest.mark.parametrize("name", RIGHT)
def test_statement_has_the_rows_of_duckdb(ask, name):
    sql, rows = RIGHT[name]
    right = duckdb.sql(sql).fetchall()
    assert rows is None or right == rows
    assert ask(sql)[1] == right


@pytest.mark.parametrize("name", RIGHT)
def test_statement_has_the_same_rows_in_subquery_and_cte(ask, name):
    sql, _ = RIGHT[name]
    right = ask(sql)
    for wrapped in (f"SELECT * FROM ({sql}) AS q", f"WITH q AS ({sql}) SELECT * FROM q", f"SELECT q.* FROM ({sql}) AS q LEFT JOIN (VALUES (-1)) AS z(z) ON z.z = 0"):
        names, rows = ask(wrapped)
        assert names == right[0]
        assert sorted(rows, key=repr) == sorted(right[1], key=repr)


@pytest.mark.parametrize("name", OURS)
def test_statement_of_another_engine_has_its_rows(ask, name):
    sql, rows = OURS[name]
    found = ask(sql)[1]
    assert rows is None or found == rows
    assert found


@pytest.mark.parametrize("sql", EQUAL)
def test_equal_names_of_a_result_are_kept(ask, sql):
    names, rows = EQUAL[sql]
    found_names, found = ask(sql)
    assert rows is None or found == rows
    assert names is None or found_names == names


@pytest.mark.parametrize("sql", REFUSED)
def test_unsupported_statement_is_refused_with_the_alternative(ask, sql):
    with pytest.raises(Exception) as refusal:
        ask(sql)
    assert REFUSED[sql] in str(refusal.value)


def test_byte_order_mark_is_skipped(lakes, tmp_path):
    file = tmp_path / "windows.sql"
    file.write_bytes(b"\xef\xbb\xbfSELECT 1 AS a;\n")
    outcome = lakes.new("local").isobar.ok("sql", "--format", "csv", "-f", str(file))
    assert outcome.stdout.split() == ["a", "1"]


def test_statement_is_published_from_a_query_file(lakes, tmp_path):
    lake = lakes.new("local")
    described = '--! description = "A row."\n'
    for number, (sql, _) in enumerate(RIGHT.values()):
        (tmp_path / f"q{number}.sql").write_text(f"{described}{sql}\n")
    sql, rows = RIGHT["FULL JOIN USING"]
    (tmp_path / "joined.sql").write_text(f'{described}--! [output.table]\n--! name = "joined"\n{sql}\n')
    isobar = lake.isobar.having(ISOBAR__QUERIES__PATH=str(tmp_path))
    isobar.ok("query", "check")
    isobar.ok("run", "joined")
    assert [tuple(row.values()) for row in sorted(lake.rows("joined"), key=lambda row: row["k"])] == rows
