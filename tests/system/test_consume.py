"""Kafka → PostgreSQL: each message becomes one row, also after kills and restarts, and in existing tables."""

import contextlib
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from datetime import date, datetime, timedelta

import psycopg
import pytest

from support import faults, oracle
from support.binary import Isobar, Process
from support.database import UTC, Database, compare_weather, local
from support.fixtures import LONG
from support.sources import lake_of
from support.topic import Topic, weather
from support.weather_data import AUTUMN, CITIES, SPRING, day_range, paris_midnight
from test_kafka import end, producing, wait_until

KILLS = 30 if LONG else 4
ROUNDS = 10 if LONG else 1
GROUP = "isobar"
# Every JSON object is a message here; the tables of the lake decide whether it is weather.
TAKEN = [
    "value is the API's 401", "value is the API's 404", "no weather", "weather is an error body", "no air_pollution",
    "no forecast", "forecast is null", "temperature is a text", "city id is a text",
]  # fmt: skip
REFUSED = [
    "cut short", "the gateway's HTML", "binary bytes", "an empty line", "a byte-order mark", "bytes after the end",
    "two values in one line", "single quotes", "a comma before the brace", "invalid UTF-8 in a name",
    "a lone high surrogate", "NaN", "Infinity", "a leading zero", "a key twice", "arrays nested over 64",
    "a number too large", "a string over 64 KiB", "value is a number", "value is an array",
]  # fmt: skip


@pytest.fixture
def consumer(isobar, tmp_path, topic, database) -> Isobar:
    return consumer_of(isobar, tmp_path, topic, database)


def consumer_of(isobar, directory, topic: Topic, database: Database, **variables: str) -> Isobar:
    own = {
        "BOOTSTRAP_SERVERS": topic.servers,
        "TOPIC_NAME": topic.name,
        "ISOBAR__CONSUME__HTTP_LISTEN": "127.0.0.1:0",
        "ISOBAR__POSTGRES__TIMEOUT": "20s",
    }
    return Isobar(str(isobar), directory, own | database.variables | variables)


def consume(consumer: Isobar, *arguments: str) -> str:
    return consumer.ok("consume", "--once", *arguments).stdout


def must_hold(database: Database, topic: Topic) -> None:
    """Asserts a row for every well-formed message, a dead letter with the bytes for every malformed one, and no more."""
    compare_weather(database, topic.records, topic.name)
    dead_letters = database.rows("SELECT topic, partition, msg_offset, reason, detail, value FROM isobar.dead_letters")
    want = {message.identity: message for message in topic.bad}
    assert {(row[1], row[2]) for row in dead_letters} == want.keys()
    assert len(dead_letters) == len(want)
    for name, partition, offset, reason, _, value in dead_letters:
        assert name == topic.name and reason
        assert bytes(value) == (want[partition, offset].raw or b""), want[partition, offset].kind


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_rows_match_the_produced_messages(isobar, tmp_path, topic, database, zone, figures):
    days = [date(2026, 1, 15), SPRING, AUTUMN]
    topic.produce(weather(days, CITIES[:3], forecasts=2), kinds=REFUSED)
    consumer = consumer_of(isobar, tmp_path, topic, database, TZ=zone)
    consume(consumer)
    must_hold(database, topic)
    figures.record(f"Kafka → PostgreSQL, TZ={zone}", f"{len(topic.records)} rows, {len(topic.bad)} dead letters")


def test_well_formed_message_of_any_content_is_a_row(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:40], kinds=TAKEN)
    consume(consumer)
    assert database.identities() == sorted([r.identity for r in topic.records] + [b.identity for b in topic.bad])
    assert database.scalar("SELECT count(*) FROM isobar.dead_letters") == 0


def test_message_that_postgresql_refuses_is_a_dead_letter(topic, database, consumer):
    records = weather([date(2026, 1, 15)], CITIES[:1])
    topic.produce(records[:20])
    topic.produce_raw(records[20], b'{"a": "nul \\u0000"}')
    # JSON for any reader, with a number of more digits than NUMERIC has.
    topic.produce_raw(records[21], b'{"a": 0.' + b"1" * 20_000 + b"}")
    topic.produce(records[22:40])
    topic.produce_raw(records[40], b'{"a": 0.' + b"2" * 20_000 + b"}")
    assert "38 messages inserted, 3 refused" in consume(consumer)
    must_hold(database, topic)
    reasons = database.rows("SELECT reason FROM isobar.dead_letters ORDER BY msg_offset")
    assert reasons == [("nul_character",), ("refused_by_postgresql",), ("refused_by_postgresql",)]


def test_second_run_resumes_at_the_position(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=REFUSED[:2])
    consume(consumer)
    assert "0 messages inserted, 0 refused, 0 skipped in 0 transactions" in consume(consumer)
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]), kinds=REFUSED[2:4])
    assert "288 messages inserted, 2 refused, 0 skipped" in consume(consumer)
    must_hold(database, topic)


def test_kill_loses_and_duplicates_no_message(isobar, tmp_path, topic, database, figures):
    chance = random.Random(9)
    fast = {"ISOBAR__CONSUME__INTERVAL": "20ms", "ISOBAR__CONSUME__ROWS_MAX": "100"}
    consumer = consumer_of(isobar, tmp_path, topic, database, **fast)
    with producing(topic):
        for _ in range(KILLS):
            faults.kill_some_time_after("a transaction", database.count, lambda: consumer.start("consume"), chance)
    consume(consumer)
    must_hold(database, topic)
    figures.record("kill -9 of consume", f"{KILLS} kills, {len(topic.records)} rows: 0 lost, 0 double")


@pytest.mark.parametrize("server", ["postgres", "kafka"])
def test_consumer_retries_while_servers_restart_under_load(stack, topic, database, consumer, server, figures):
    process = consumer.start("consume")
    chance = random.Random(5)
    with producing(topic):
        for _ in range(faults.times(server)):
            faults.some_time_after("a transaction", database.count, process, chance)
            faults.restart(stack, server, chance)
        faults.some_time_after("a transaction", database.count, process, chance)
    twice = topic.read_unconfirmed()
    wait_until(lambda: database.count() == len(topic.records), "all rows after a restart")
    assert end(process) == 0
    must_hold(database, topic)
    figures.record(
        f"restart of {server} under consume",
        f"{faults.times(server)} times, {len(topic.records)} rows, {twice} that the producer had to send twice: 0 lost, 0 double",
    )


WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""


def test_changing_consumers_lose_and_duplicate_no_message(topic, database, consumer, figures):
    """One consumer works and the others wait for its end, by SIGKILL or SIGTERM: 1, 3, 2 and 1 again."""
    chance = random.Random(5)
    with producing(topic), contextlib.ExitStack() as running:

        def start() -> Process:
            return running.enter_context(consumer.start("consume"))

        working = start()
        faults.some_time_after("a transaction", database.count, working, chance)
        for _ in range(ROUNDS):
            waiting = [start(), start()]
            for number, members_left in [(signal.SIGKILL, 1), (signal.SIGTERM, 0)]:
                wait_until(lambda left=members_left: database.scalar(WAITING) == left + 1, "others that wait for the lock")
                end(working, number)
                # The consumer that holds the lock is the one that logs that it reads.
                wait_until(lambda: any("reading" in member.said() for member in waiting), "a successor")
                [working] = [member for member in waiting if "reading" in member.said()]
                waiting.remove(working)
                faults.some_time_after("a transaction", database.count, working, chance)
    consume(consumer)
    must_hold(database, topic)
    figures.record(
        "members of consume 1 → 3 → 2 → 1 under load", f"{ROUNDS} times, {len(topic.records)} rows: 0 lost, 0 double"
    )


def test_redelivery_duplicates_no_row(topic, database, consumer):
    """The offsets of the group are reset, and the position in PostgreSQL is deleted."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=REFUSED)
    consume(consumer)
    topic.rewind(GROUP)
    assert "0 messages inserted, 0 refused, 0 skipped" in consume(consumer)
    database.run("DELETE FROM isobar.positions")
    assert f"0 messages inserted, 0 refused, {len(topic.records) + len(topic.bad)} skipped" in consume(consumer)
    must_hold(database, topic)


def test_batch_of_new_and_existing_rows_inserts_new_ones_only(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=REFUSED[:2])
    consume(consumer)
    database.run("DELETE FROM isobar.positions")
    database.run("DELETE FROM weather WHERE msg_offset %% 3 = 1")
    gone = len(topic.records) - database.count()
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1]))
    assert f"{gone + 144} messages inserted, 0 refused, " in consume(consumer)
    must_hold(database, topic)
    topic.produce(weather([date(2026, 1, 17)], CITIES[:1]))
    assert "144 messages inserted, 0 refused, 0 skipped" in consume(consumer)
    must_hold(database, topic)


def test_altered_table_gets_rows_by_insert(topic, database, consumer):
    """COPY converts no types, so a table with other types gets its rows by INSERT."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]), kinds=REFUSED[:2])
    consume(consumer)
    database.run("ALTER TABLE weather ALTER COLUMN msg_offset TYPE NUMERIC")
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1]))
    assert "144 messages inserted, 0 refused, 0 skipped" in consume(consumer)
    must_hold(database, topic)


def test_table_without_its_key_is_refused(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    consume(consumer)
    database.run("ALTER TABLE weather DROP CONSTRAINT weather_pkey")
    database.run("DELETE FROM isobar.positions")
    consumer.refused("consume", "--once", code=1, says=["ON CONFLICT"], within_s=40)
    must_hold(database, topic)


def test_large_rows_are_compressed_with_lz4_by_default(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1], forecasts=4))
    methods = "SELECT DISTINCT pg_column_compression(value) FROM weather WHERE event_time::date = %s"
    consume(consumer)
    assert database.rows(methods, ["2026-01-15"]) == [("lz4",)]
    database.run("ALTER TABLE weather ALTER COLUMN value SET COMPRESSION pglz")
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1], forecasts=4))
    consume(consumer)
    assert database.rows(methods, ["2026-01-16"]) == [("pglz",)]
    must_hold(database, topic)


def test_second_consumer_waits_for_the_first(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]))
    process = consumer.start("consume")
    wait_until(lambda: database.count() == len(topic.records), "the rows")
    consumer.refused("consume", "--once", code=1, says=["another `isobar consume`", topic.name], within_s=40)
    assert end(process) == 0
    must_hold(database, topic)


def test_sigterm_writes_the_current_batch(isobar, tmp_path, topic, database):
    consumer = consumer_of(isobar, tmp_path, topic, database, ISOBAR__CONSUME__INTERVAL="1h")
    process = consumer.start("consume")
    wait_until(lambda: "reading" in process.said(), "the start")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    held = re.compile(r"isobar_consume_behind_messages (\d+)")
    wait_until(lambda: held.search(get(process, "/metrics")[1])[1] == "144", "a look at the topic")
    assert end(process) == 0
    assert database.count() in range(145)  # the written part differs, and the rest is not lost
    consume(consumer)
    must_hold(database, topic)


def get(process: Process, path: str) -> tuple[int, str]:
    """Status and body of an HTTP response; 0 while the port is closed."""
    address = re.search(r'"http":"([^"]+)"', process.said())
    if not address:
        return 0, ""
    try:
        with urllib.request.urlopen(f"http://{address[1]}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:  # it has ended
        return 0, process.said()


def test_health_and_metrics_follow_the_servers(stack, topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]), kinds=["cut short"])
    process = consumer.start("consume")
    wait_until(lambda: database.count() == 144, "the rows")
    wait_until(lambda: get(process, "/healthz")[0] == get(process, "/readyz")[0] == 200, "to be ready")
    last = max(record.event_at for record in topic.records)
    lines = [
        'isobar_consume_messages_total{outcome="inserted"} 144',
        'isobar_consume_messages_total{outcome="refused"} 1',
        "isobar_consume_behind_messages 0",
        f'isobar_consume_event_time_seconds{{topic_partition="{topic.records[0].partition}"}} {last}',
    ]
    wait_until(lambda: all(line in get(process, "/metrics")[1].splitlines() for line in lines), f"{lines}")
    stack.kill("postgres")
    # Also while no row is written.
    wait_until(lambda: get(process, "/readyz")[0] == 503, "PostgreSQL is unavailable")
    assert "PostgreSQL" in get(process, "/readyz")[1]
    assert get(process, "/healthz")[0] == 200
    stack.start("postgres")
    wait_until(lambda: get(process, "/readyz")[0] == 200, "to be ready again")
    assert end(process) == 0


@pytest.mark.parametrize(
    ("service", "unfinished"),
    [(["consume"], "consume"), (["export"], "export"), (["land", "--from", "postgres"], "land")],
)
def test_service_with_a_stopped_server_ends_at_its_deadline(lakes, topic, database, service, unfinished):
    key = f"ISOBAR__{unfinished.upper()}__SHUTDOWN_DEADLINE"
    lake = lake_of(lakes, "local", topic, database, **{key: "2s", "ISOBAR__POSTGRES__TIMEOUT": "10m"})
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    lake.isobar.ok("consume", "--once")
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1])[:50])
    with database.connect() as holder:
        with holder.transaction():
            holder.execute("LOCK TABLE weather IN ACCESS EXCLUSIVE MODE")
            process = lake.isobar.start(*service)
            waiting = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' AND wait_event_type = 'Lock'"
            wait_until(lambda: database.scalar(waiting) > 0, "the service to wait")
            process.terminate()
            assert process.wait(timeout=60) == 1
            assert f"{unfinished}.shutdown_deadline" in process.said()
    lake.isobar.ok("consume", "--once")
    lake.isobar.ok(*service, "--once")
    assert database.identities() == oracle.identities(topic.records)


def test_legacy_row_with_fraction_of_a_second_is_the_same_message(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    database.legacy_table(topic.records[:20])
    database.run("UPDATE weather SET date_time = date_time + interval '123 milliseconds'")
    assert "30 messages inserted, 0 refused, 20 skipped" in consume(consumer)
    assert database.identities() == oracle.identities(topic.records)


def test_recreated_topic_is_refused_before_any_write(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    consume(consumer)
    recreate(topic)
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    consumer.refused("consume", "--once", code=1, says=[topic.name, "deleted and created again"])
    assert database.count() == 100


def test_topic_recreated_while_consuming_stops_the_consumer(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    process = consumer.start("consume")
    wait_until(lambda: database.count() == 100, "the first rows")
    recreate(topic)
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    assert process.wait(timeout=60) == 1
    assert database.count() == 100


def recreate(topic: Topic) -> None:
    topic.delete()
    wait_until(lambda: topic.name not in topic.admin.list_topics(timeout=10).topics, "the end of the topic")
    topic.create()


def test_offsets_lost_to_retention_are_an_error_until_accepted(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]))
    consume(consumer)
    taken = list(topic.records)
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]))
    partition = taken[-1].partition
    first = 1 + max(record.offset for record in taken if record.partition == partition)
    topic.delete_before({partition: first + 10})
    consumer.refused(
        "consume", "--once", code=1, says=[topic.name, f"partition {partition}", str(first), "--accept-loss"]
    )
    assert database.count() == len(taken)
    consume(consumer, "--accept-loss")
    gone = range(first, first + 10)
    kept = [record for record in topic.records if record.partition != partition or record.offset not in gone]
    compare_weather(database, kept, topic.name)


def test_legacy_table_is_migrated_with_its_rows(topic, database, consumer, figures):
    topic.produce(weather([SPRING, AUTUMN], CITIES[:2]))
    kept, lost = topic.records[:-50], topic.records[-50:]
    # The legacy consumer wrote some rows twice, and skipped others.
    missing = kept.pop(7)
    twice = kept[10:30]
    database.legacy_table(kept + twice + twice[:5])
    database.run("INSERT INTO weather (date_time, value) VALUES (now(), '{}')")
    outcome = consumer.ok("consume", "--once")
    assert "51 messages inserted" in outcome.stdout, [missing, len(lost)]
    for said in [f'"rows":{len(kept)}', '"reason":"duplicate"', '"rows":25', '"reason":"incomplete"']:
        assert said in outcome.stderr
    must_hold(database, topic)
    aside = database.rows("SELECT reason, count(*) FROM isobar.set_aside GROUP BY reason ORDER BY reason")
    assert aside == [("duplicate", 25), ("incomplete", 1)]
    # The migration runs once.
    again = consumer.ok("consume", "--once")
    assert "0 messages inserted" in again.stdout and "set_aside" not in again.stderr
    figures.record("legacy table taken over", f"{len(kept)} rows kept, 25 duplicates and 1 incomplete row set aside")


def test_latest_of_legacy_rows_with_one_identity_stays(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    before = [dataclasses.replace(r, event_at=r.event_at - 86_400, value={"old": r.offset}) for r in topic.records]
    database.legacy_table(before + topic.records)
    consume(consumer)
    must_hold(database, topic)
    assert database.rows("SELECT DISTINCT reason FROM isobar.set_aside") == [("another message of the same offset",)]


def test_rows_of_a_deleted_topic_are_not_confused_with_new_ones(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    database.legacy_table([dataclasses.replace(record, event_at=record.event_at - 86_400) for record in topic.records])
    consumer.refused("consume", "--once", code=1, says=[topic.name, "another message under offset", "another name"])
    assert database.count() == 50
    assert database.rows("SELECT * FROM isobar.positions") == []


def test_legacy_rows_of_clock_changes_get_the_right_instant(topic, database, consumer):
    """Legacy rows have local time only; the time of the message decides between the two hours in autumn."""
    model = weather([AUTUMN], CITIES[:1])[0]
    records = []
    for day in [SPRING, AUTUMN]:
        for at in range(paris_midnight(day), paris_midnight(day + timedelta(days=1)), 60):
            value = json.loads(json.dumps(model.value))
            value["weather"]["dt"] = at - 300
            records.append(dataclasses.replace(model, partition=0, offset=len(records), event_at=at, value=value))
    assert len(records) == 1380 + 1500
    database.legacy_table(records)
    consume(consumer)
    found = database.rows("SELECT msg_offset, event_time, date_time FROM weather ORDER BY msg_offset")
    assert found == [(r.offset, datetime.fromtimestamp(r.event_at, UTC), local(r.event_at)) for r in records]


def test_tables_of_a_newer_version_are_refused(topic, database, consumer):
    consume(consumer)
    database.run("INSERT INTO isobar.schema_version (version, name) VALUES (1000, 'of tomorrow')")
    consumer.refused("consume", "--once", code=1, says=["version 1000", "newer"])


def test_unreachable_server_is_named(topic, database, consumer):
    def refused(says: list[str], **variables: str) -> None:
        consumer.having(**variables).refused("consume", "--once", code=1, says=says)

    refused(["127.0.0.1:1", "BOOTSTRAP_SERVERS"], BOOTSTRAP_SERVERS="127.0.0.1:1")
    refused(['"not-there"', "TOPIC_NAME"], TOPIC_NAME="not-there")
    refused(["127.0.0.1:1", "POSTGRES_HOST"], POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1")
    refused(["weather_service", "POSTGRES_PASSWORD"], POSTGRES_PASSWORD="not the password")
    refused(["nowhere", "POSTGRES_DB"], POSTGRES_DB="nowhere")
    refused(["weather_service", "POSTGRES_PASSWORD"], POSTGRES_PASSWORD=None)
    assert not database.has("weather")


def test_large_backlog_is_consumed(topic, database, consumer, figures):
    count = 100_000 if LONG else 5_000
    records = weather(day_range(date(2026, 1, 1), 1 + count // 864), CITIES)[:count]
    topic.produce(records)
    started = time.monotonic()
    consume(consumer)
    seconds = time.monotonic() - started
    assert database.identities() == oracle.identities(topic.records)
    figures.record("Kafka → PostgreSQL in bulk", f"{count} messages in {seconds:.1f} s, {count / seconds:.0f}/s")


@pytest.fixture
def certificates(postgres, tmp_path):
    """Enables TLS at the server. Its certificate is for localhost, and signed by `ours.crt`, not by `other.crt`."""
    keys = {name: postgres[f"POSTGRES_{name}"] for name in ["HOST", "PORT", "DB", "USER", "PASSWORD"]}
    url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{DB}".format(**keys)
    for name in ["ours", "other"]:
        certify(tmp_path / name, "-subj", f"/CN={name}")
    signed = ["-CA", f"{tmp_path}/ours.crt", "-CAkey", f"{tmp_path}/ours.key", "-addext", "basicConstraints=CA:FALSE"]
    certify(tmp_path / "server", *signed, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    with psycopg.connect(url, autocommit=True) as connection:
        [[place]] = connection.execute("SHOW data_directory").fetchall()
        for suffix in ["crt", "key"]:
            shutil.copy(tmp_path / f"server.{suffix}", place)
        os.chmod(f"{place}/server.key", 0o600)
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")
    yield tmp_path
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM RESET ssl")
        connection.execute("SELECT pg_reload_conf()")


def certify(path, *options: str) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *options]
    subprocess.run([*made, "-keyout", f"{path}.key", "-out", f"{path}.crt"], check=True, capture_output=True)


def test_tls_verifies_the_certificate_of_the_server(topic, database, consumer, certificates, tmp_path):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])

    def having(mode: str, root: str | None = None, **variables: str) -> Isobar:
        own = {"ISOBAR__POSTGRES__SSLMODE": mode} | variables
        if root:
            own["ISOBAR__POSTGRES__ROOT_CERTIFICATE"] = str(certificates / root)
        return consumer.having(**own)

    is_protected = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'isobar consume'"
    for protected, protecting in [
        (False, having("disable")),
        (True, having("prefer")),
        (True, having("require")),
        (True, having("verify-full", "ours.crt")),
    ]:
        process = protecting.start("consume")
        wait_until(lambda: get(process, "/readyz")[0] == 200 or process.poll() is not None, "to be ready")
        assert database.rows(is_protected) == [(protected,)], process.said()
        assert end(process) == 0
    disagree = ["TLS", "postgres.root_certificate"]
    having("verify-full", "other.crt").refused("consume", "--once", code=1, says=disagree)
    having("verify-full", "ours.crt", POSTGRES_HOST="127.0.0.1").refused("consume", "--once", code=1, says=disagree)
    having("verify-full", "server.key").refused("consume", "--once", code=1, says=["root_certificate", "server.key"])
    must_hold(database, topic)


def test_server_without_tls_is_refused_when_tls_is_required(topic, database, consumer):
    for mode in ["require", "verify-full"]:
        required = consumer.having(ISOBAR__POSTGRES__SSLMODE=mode)
        required.refused("consume", "--once", code=1, says=["does not support TLS", "postgres.sslmode"])
    consume(consumer.having(ISOBAR__POSTGRES__SSLMODE="prefer"))
