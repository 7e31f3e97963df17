"""Kafka → PostgreSQL: each message one row, whatever is killed, restarted or was there before."""

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
from support.roads import lake_of
from support.topic import Topic, weather
from support.weather_data import AUTUMN, CITIES, SPRING, day_range, paris_midnight
from test_kafka import end, producing, wait_until

KILLS = 30 if LONG else 4
ROUNDS = 10 if LONG else 1
GROUP = "isobar"
# What is JSON and an object stays a message: whether it is one of the weather is for the tables of the lake.
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
    """Every good message is a row, every bad one a dead letter with its bytes, and no more."""
    compare_weather(database, topic.records, topic.name)
    letters = database.rows("SELECT topic, partition, msg_offset, reason, detail, value FROM isobar.dead_letters")
    want = {message.identity: message for message in topic.bad}
    assert {(row[1], row[2]) for row in letters} == want.keys()
    assert len(letters) == len(want)
    for name, partition, offset, reason, _, value in letters:
        assert name == topic.name and reason
        assert bytes(value) == (want[partition, offset].raw or b""), want[partition, offset].kind


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_rows_are_what_was_produced(isobar, tmp_path, topic, database, zone, figures):
    days = [date(2026, 1, 15), SPRING, AUTUMN]
    topic.produce(weather(days, CITIES[:3], forecasts=2), kinds=REFUSED)
    consumer = consumer_of(isobar, tmp_path, topic, database, TZ=zone)
    consume(consumer)
    must_hold(database, topic)
    figures.record(f"Kafka → PostgreSQL, TZ={zone}", f"{len(topic.records)} rows, {len(topic.bad)} dead letters")


def test_well_formed_messages_are_kept_whatever_they_say(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:40], kinds=TAKEN)
    consume(consumer)
    assert database.identities() == sorted([r.identity for r in topic.records] + [b.identity for b in topic.bad])
    assert database.scalar("SELECT count(*) FROM isobar.dead_letters") == 0


def test_what_postgresql_refuses_is_a_dead_letter_and_the_rest_is_there(topic, database, consumer):
    records = weather([date(2026, 1, 15)], CITIES[:1])
    topic.produce(records[:20])
    topic.produce_raw(records[20], b'{"a": "nul \\u0000"}')
    # JSON that any reader takes, and a number of more digits than NUMERIC has.
    topic.produce_raw(records[21], b'{"a": 0.' + b"1" * 20_000 + b"}")
    topic.produce(records[22:40])
    topic.produce_raw(records[40], b'{"a": 0.' + b"2" * 20_000 + b"}")
    assert "38 messages inserted, 3 refused" in consume(consumer)
    must_hold(database, topic)
    reasons = database.rows("SELECT reason FROM isobar.dead_letters ORDER BY msg_offset")
    assert reasons == [("nul_character",), ("refused_by_postgresql",), ("refused_by_postgresql",)]


def test_a_second_run_goes_on_where_the_first_ended(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=REFUSED[:2])
    consume(consumer)
    assert "0 messages inserted, 0 refused, 0 skipped in 0 transactions" in consume(consumer)
    topic.produce(weather([date(2026, 1, 16)], CITIES[:2]), kinds=REFUSED[2:4])
    assert "288 messages inserted, 2 refused, 0 skipped" in consume(consumer)
    must_hold(database, topic)


def test_nothing_is_lost_or_doubled_by_kill_nine(isobar, tmp_path, topic, database, figures):
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
def test_a_consumer_outlives_the_restart_of_servers_under_load(stack, topic, database, consumer, server, figures):
    process = consumer.start("consume")
    chance = random.Random(5)
    with producing(topic):
        for _ in range(faults.times(server)):
            faults.some_time_after("a transaction", database.count, process, chance)
            faults.restart(stack, server, chance)
        faults.some_time_after("a transaction", database.count, process, chance)
    twice = topic.take_stock()
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


def test_members_that_come_and_go_under_load_lose_and_double_nothing(topic, database, consumer, figures):
    """One works and the others wait for its end, be it killed or told to end: 1, 3, 2 and 1 again."""
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
                # Which of them has the lock by now shows in who says that it reads.
                wait_until(lambda: any("reading" in member.said() for member in waiting), "a successor")
                [working] = [member for member in waiting if "reading" in member.said()]
                waiting.remove(working)
                faults.some_time_after("a transaction", database.count, working, chance)
    consume(consumer)
    must_hold(database, topic)
    figures.record(
        "members of consume 1 → 3 → 2 → 1 under load", f"{ROUNDS} times, {len(topic.records)} rows: 0 lost, 0 double"
    )


def test_a_redelivery_doubles_nothing(topic, database, consumer):
    """Kafka's group may be wound back, and PostgreSQL's own position be gone."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]), kinds=REFUSED)
    consume(consumer)
    topic.rewind(GROUP)
    assert "0 messages inserted, 0 refused, 0 skipped" in consume(consumer)
    database.run("DELETE FROM isobar.positions")
    assert f"0 messages inserted, 0 refused, {len(topic.records) + len(topic.bad)} skipped" in consume(consumer)
    must_hold(database, topic)


def test_rows_that_are_there_and_rows_that_are_not_come_in_one_batch(topic, database, consumer):
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


def test_a_table_of_other_types_takes_the_rows_all_the_same(topic, database, consumer):
    """COPY converts nothing: what goes straight into a table of the expected types goes by way of INSERT into this one."""
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]), kinds=REFUSED[:2])
    consume(consumer)
    database.run("ALTER TABLE weather ALTER COLUMN msg_offset TYPE NUMERIC")
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1]))
    assert "144 messages inserted, 0 refused, 0 skipped" in consume(consumer)
    must_hold(database, topic)


def test_a_table_that_has_lost_its_key_is_refused(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    consume(consumer)
    database.run("ALTER TABLE weather DROP CONSTRAINT weather_pkey")
    database.run("DELETE FROM isobar.positions")
    consumer.refused("consume", "--once", code=1, says=["ON CONFLICT"], within_s=40)
    must_hold(database, topic)


def test_large_rows_are_compressed_as_lz4_unless_the_column_says_otherwise(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1], forecasts=4))
    methods = "SELECT DISTINCT pg_column_compression(value) FROM weather WHERE event_time::date = %s"
    consume(consumer)
    assert database.rows(methods, ["2026-01-15"]) == [("lz4",)]
    database.run("ALTER TABLE weather ALTER COLUMN value SET COMPRESSION pglz")
    topic.produce(weather([date(2026, 1, 16)], CITIES[:1], forecasts=4))
    consume(consumer)
    assert database.rows(methods, ["2026-01-16"]) == [("pglz",)]
    must_hold(database, topic)


def test_two_at_once_double_nothing_and_one_waits_for_the_other(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2]))
    process = consumer.start("consume")
    wait_until(lambda: database.count() == len(topic.records), "the rows")
    consumer.refused("consume", "--once", code=1, says=["another `isobar consume`", topic.name], within_s=40)
    assert end(process) == 0
    must_hold(database, topic)


def test_sigterm_writes_what_is_in_hand(isobar, tmp_path, topic, database):
    consumer = consumer_of(isobar, tmp_path, topic, database, ISOBAR__CONSUME__INTERVAL="1h")
    process = consumer.start("consume")
    wait_until(lambda: "reading" in process.said(), "the start")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1]))
    held = re.compile(r"isobar_consume_behind_messages (\d+)")
    wait_until(lambda: held.search(get(process, "/metrics")[1])[1] == "144", "a look at the topic")
    assert end(process) == 0
    assert database.count() in range(145)  # what it had in hand by then differs, and is not lost
    consume(consumer)
    must_hold(database, topic)


def get(process: Process, path: str) -> tuple[int, str]:
    """Status and body of an answer over HTTP; 0 as long as nobody listens."""
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


def test_health_and_metrics_say_how_it_is(stack, topic, database, consumer):
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
    # Also while nothing is written.
    wait_until(lambda: get(process, "/readyz")[0] == 503, "to hear that PostgreSQL is away")
    assert "PostgreSQL" in get(process, "/readyz")[1]
    assert get(process, "/healthz")[0] == 200
    stack.start("postgres")
    wait_until(lambda: get(process, "/readyz")[0] == 200, "to be ready again")
    assert end(process) == 0


@pytest.mark.parametrize(
    ("service", "unfinished"),
    [(["consume"], "consume"), (["export"], "export"), (["land", "--from", "postgres"], "land")],
)
def test_a_service_that_a_server_keeps_waiting_ends_at_its_deadline(lakes, topic, database, service, unfinished):
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


def test_fractions_of_a_second_of_the_older_consumer_are_the_same_message(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    database.older_table(topic.records[:20])
    database.run("UPDATE weather SET date_time = date_time + interval '123 milliseconds'")
    assert "30 messages inserted, 0 refused, 20 skipped" in consume(consumer)
    assert database.identities() == oracle.identities(topic.records)


def test_a_recreated_topic_is_refused_and_nothing_written(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2])[:100])
    consume(consumer)
    recreate(topic)
    topic.produce(weather([date(2026, 2, 1)], CITIES[:2]))
    consumer.refused("consume", "--once", code=1, says=[topic.name, "deleted and created again"])
    assert database.count() == 100


def test_a_topic_that_is_recreated_under_a_consumer_stops_it(topic, database, consumer):
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


def test_offsets_lost_to_retention_are_named_until_the_loss_is_accepted(topic, database, consumer):
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


def test_a_table_of_the_older_pipeline_is_taken_over_with_its_rows(topic, database, consumer, figures):
    topic.produce(weather([SPRING, AUTUMN], CITIES[:2]))
    kept, lost = topic.records[:-50], topic.records[-50:]
    # The older consumer wrote some rows twice, and left some out.
    missing = kept.pop(7)
    twice = kept[10:30]
    database.older_table(kept + twice + twice[:5])
    database.run("INSERT INTO weather (date_time, value) VALUES (now(), '{}')")
    outcome = consumer.ok("consume", "--once")
    assert "51 messages inserted" in outcome.stdout, [missing, len(lost)]
    for said in [f'"rows":{len(kept)}', '"reason":"duplicate"', '"rows":25', '"reason":"incomplete"']:
        assert said in outcome.stderr
    must_hold(database, topic)
    aside = database.rows("SELECT reason, count(*) FROM isobar.set_aside GROUP BY reason ORDER BY reason")
    assert aside == [("duplicate", 25), ("incomplete", 1)]
    # Once is enough.
    again = consumer.ok("consume", "--once")
    assert "0 messages inserted" in again.stdout and "set_aside" not in again.stderr
    figures.record("older table taken over", f"{len(kept)} rows kept, 25 duplicates and 1 incomplete row set aside")


def test_of_older_rows_with_one_identity_the_latest_stays(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    before = [dataclasses.replace(r, event_at=r.event_at - 86_400, value={"old": r.offset}) for r in topic.records]
    database.older_table(before + topic.records)
    consume(consumer)
    must_hold(database, topic)
    assert database.rows("SELECT DISTINCT reason FROM isobar.set_aside") == [("another message of the same offset",)]


def test_rows_of_a_topic_that_is_no_more_are_never_mistaken(topic, database, consumer):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:50])
    database.older_table([dataclasses.replace(record, event_at=record.event_at - 86_400) for record in topic.records])
    consumer.refused("consume", "--once", code=1, says=[topic.name, "another message under offset", "another name"])
    assert database.count() == 50
    assert database.rows("SELECT * FROM isobar.positions") == []


def test_every_minute_of_the_change_nights_is_taken_over(topic, database, consumer):
    """The older rows say their local time alone; the messages' own moment tells the two hours of autumn apart."""
    model = weather([AUTUMN], CITIES[:1])[0]
    records = []
    for day in [SPRING, AUTUMN]:
        for at in range(paris_midnight(day), paris_midnight(day + timedelta(days=1)), 60):
            value = json.loads(json.dumps(model.value))
            value["weather"]["dt"] = at - 300
            records.append(dataclasses.replace(model, partition=0, offset=len(records), event_at=at, value=value))
    assert len(records) == 1380 + 1500
    database.older_table(records)
    consume(consumer)
    found = database.rows("SELECT msg_offset, event_time, date_time FROM weather ORDER BY msg_offset")
    assert found == [(r.offset, datetime.fromtimestamp(r.event_at, UTC), local(r.event_at)) for r in records]


def test_tables_of_a_newer_version_are_left_alone(topic, database, consumer):
    consume(consumer)
    database.run("INSERT INTO isobar.schema_version (version, name) VALUES (1000, 'of tomorrow')")
    consumer.refused("consume", "--once", code=1, says=["version 1000", "newer"])


def test_what_cannot_be_reached_is_named(topic, database, consumer):
    def refused(says: list[str], **variables: str) -> None:
        consumer.having(**variables).refused("consume", "--once", code=1, says=says)

    refused(["127.0.0.1:1", "BOOTSTRAP_SERVERS"], BOOTSTRAP_SERVERS="127.0.0.1:1")
    refused(['"not-there"', "TOPIC_NAME"], TOPIC_NAME="not-there")
    refused(["127.0.0.1:1", "POSTGRES_HOST"], POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1")
    refused(["weather_service", "POSTGRES_PASSWORD"], POSTGRES_PASSWORD="not the password")
    refused(["nowhere", "POSTGRES_DB"], POSTGRES_DB="nowhere")
    refused(["weather_service", "POSTGRES_PASSWORD"], POSTGRES_PASSWORD=None)
    assert not database.has("weather")


def test_messages_come_through_at_a_bulk(topic, database, consumer, figures):
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
    """The server has TLS meanwhile. Its certificate is for localhost, and signed by `ours.crt`, not by `other.crt`."""
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


def test_tls_is_spoken_and_the_server_known_by_its_certificate(topic, database, consumer, certificates, tmp_path):
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


def test_a_server_without_tls_is_not_spoken_to_when_tls_is_required(topic, database, consumer):
    for mode in ["require", "verify-full"]:
        required = consumer.having(ISOBAR__POSTGRES__SSLMODE=mode)
        required.refused("consume", "--once", code=1, says=["does not support TLS", "postgres.sslmode"])
    consume(consumer.having(ISOBAR__POSTGRES__SSLMODE="prefer"))
