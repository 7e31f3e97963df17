"""Health, readiness and metrics of a landing: counts of messages, and unavailable servers."""

import signal
import socket
import time
from collections import Counter
from datetime import date

from support.binary import TIMEOUT_S, Process
from support.lake import Lake
from support.malformed import OF_MESSAGES
from support.topic import Topic, weather
from support.weather_data import CITIES, build
from support.web import Web, eventually, web_of

QUICK = {"ISOBAR__LAND__INTERVAL": "200ms", "ISOBAR__HDFS__TIMEOUT": "3s"}


def lake_of(lakes, kind: str, topic: Topic, **variables: str) -> Lake:
    return lakes.new(kind, BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name, **variables)


def end(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=TIMEOUT_S) == 0, process.said()


def rows(web: Web, table: str) -> float:
    return web.metric(f'isobar_landed_rows_total{{table="{table}"}}')


def of_topic(name: str, topic: Topic) -> str:
    return f'{name}{{topic="{topic.name}"}}'


def of_partitions(web: Web, name: str, topic: Topic) -> dict[int, float]:
    """Values by topic partition."""
    metrics = web.metrics()
    series = ((number, f'{name}{{topic="{topic.name}",topic_partition="{number}"}}') for number in range(topic.partitions))
    return {number: metrics[name] for number, name in series if name in metrics}


def lag(web: Web, topic: Topic) -> dict[int, float]:
    """By topic partition."""
    series = 'isobar_kafka_lag{{topic="{}",topic_partition="{}"}}'
    metrics = web.metrics()
    return {number: metrics.get(series.format(topic.name, number), -1.0) for number in range(topic.partitions)}


def test_metrics_count_the_landed_messages(lakes, kind, topic):
    topic.produce(weather([date(2026, 1, 15)], CITIES[:2], forecasts=2)[:100], kinds=OF_MESSAGES[:6])
    lake = lake_of(lakes, kind, topic, **QUICK)
    started = time.time()
    with lake.isobar.start("land", "--from", "kafka") as process:
        web = web_of(process)
        assert web.get("/healthz") == (200, "ok\n")
        web.wait_until_ready()
        eventually(lambda: rows(web, "weather") == len(topic.records), "all rows", TIMEOUT_S)
        # Metrics of a commit are updated one after the other.
        eventually(lambda: rows(web, "weather_forecast") == len(lake.rows("weather_forecast")) > 0, "all forecasts")
        eventually(lambda: rows(web, "dead_letters") == len(topic.bad), "all dead letters")
        reasons = Counter(dead_letter["reason"] for dead_letter in lake.rows("dead_letters"))
        series = 'isobar_dead_letters_total{{topic="{}",reason="{}"}}'
        dead_letters = {series.format(topic.name, reason): count for reason, count in reasons.items()}

        def counted() -> dict[str, float]:
            return {name: value for name, value in web.metrics().items() if "dead_letters_total" in name}

        eventually(lambda: counted() == dead_letters, "the reasons of the dead letters")
        newest = max(record.event_at for record in topic.records)
        eventually(lambda: web.metric(of_topic("isobar_newest_event_timestamp_seconds", topic)) == newest, "the last count")
        metrics = web.metrics()
        assert metrics[of_topic("isobar_landing_commits_total", topic)] >= 1
        assert metrics[of_topic("isobar_landing_restarts_total", topic)] == 0
        assert metrics[of_topic("isobar_landing_stopped", topic)] == 0
        assert started - 1 <= metrics[of_topic("isobar_last_commit_timestamp_seconds", topic)] <= time.time()
        assert metrics["isobar_storage_calls_total"] > 0
        eventually(lambda: set(lag(web, topic).values()) == {0}, "nothing left")
        # An empty topic partition has no position.
        ends = {number: high for number, (_, high) in enumerate(topic.watermarks()) if high > 0}
        assert of_partitions(web, "isobar_landed_offset", topic) == ends
        # Malformed messages have no event time.
        newest = of_partitions(web, "isobar_complete_until_timestamp_seconds", topic)
        records = ((record.partition, record.event_at) for record in sorted(topic.records, key=lambda r: r.event_at))
        assert newest == dict(records)
        end(process)


def test_lag_counts_offsets_beyond_the_tables(lakes, topic):
    lake = lake_of(lakes, "local", topic, ISOBAR__LAND__INTERVAL="1h")
    topic.produce(weather([date(2026, 1, 15)], CITIES[:3])[:60])
    with lake.isobar.start("land", "--from", "kafka") as process:
        web = web_of(process)
        eventually(lambda: lag(web, topic) == produced(topic), "what was there at the start", TIMEOUT_S)
        topic.produce(weather([date(2026, 1, 16)], CITIES[:3])[:60])
        # Read by now, and not yet committed.
        eventually(lambda: lag(web, topic) == produced(topic), "what came since")
        assert rows(web, "weather") == 0 and web.metric(of_topic("isobar_last_commit_timestamp_seconds", topic)) == 0
        end(process)
    assert lake.identities() == sorted(record.identity for record in topic.records)


def produced(topic: Topic) -> dict[int, float]:
    counts = Counter(record.partition for record in topic.records)
    return {number: counts[number] for number in range(topic.partitions)}


def test_watching_landing_publishes_metrics(lakes):
    lake = lakes.new("local", **QUICK)
    export = build([date(2026, 1, 15)], CITIES[:1], malformed=["cut short"])
    lake.put(export.files)
    with lake.isobar.start("land", "--from", "files", lake.place.export_url) as process:
        web = web_of(process)
        eventually(lambda: rows(web, "weather") == len(export.records), "all rows", TIMEOUT_S)
        web.wait_until_ready()
        eventually(lambda: rows(web, "dead_letters") == len(export.bad), "all dead letters")
        assert not [name for name in web.metrics() if "kafka_lag" in name]
        end(process)


def test_landing_with_once_publishes_metrics_while_it_runs(lakes, stack):
    lake = lakes.new("hdfs", ISOBAR__HDFS__TIMEOUT="100s")
    export = build([date(2026, 1, 15)], CITIES[:1])
    lake.put(export.files)
    stack.stop("namenode")
    with lake.isobar.start("land", "--from", "files", lake.place.export_url, "--once") as process:
        assert web_of(process).get("/healthz") == (200, "ok\n")
        stack.cont("namenode")
        assert process.wait(timeout=TIMEOUT_S) == 0
    assert lake.identities() == sorted(record.identity for record in export.records)


def test_occupied_address_is_named_before_the_landing(lakes):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        lake = lakes.new("local", ISOBAR__LAND__HTTP_LISTEN=address)
        lake.put(build([date(2026, 1, 15)], CITIES[:1]).files)
        arguments = ["land", "--from", "files", lake.place.export_url]
        lake.isobar.refused(*arguments, code=1, says=["land.http_listen", address, "port 0"])
        assert not lake.place.names("lake")
        # Probably a service uses the address, and this landing runs beside it.
        outcome = lake.isobar.ok(*arguments, "--once")
        assert address in outcome.stderr
    assert lake.identities()
