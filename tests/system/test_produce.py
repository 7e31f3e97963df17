"""`isobar produce`: the weather of OpenWeather reaches Kafka, each message once and in order, also after failures."""

import contextlib
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from support import produced
from support.binary import CANARIES, TIMEOUT_S, Isobar
from support.fixtures import LONG
from support.openweather import OpenWeather
from support.produced import NOWHERE, ProducedTopic, must_be_in_order, must_be_what_was_served
from support.sources import lake_of
from support.service import Service
from support.weather_data import CITIES, many_cities
from support.web import eventually
from test_export import exported_identities
from test_kafka import end

KILLS = 20 if LONG else 3
DAY_S = 86_400


@pytest.fixture
def topic(kafka) -> ProducedTopic:
    return ProducedTopic(kafka)


@pytest.fixture
def producer(isobar, tmp_path):
    """Makes a binary that is configured with API, topic and cities."""

    def configured(api: OpenWeather, topic: ProducedTopic | None, cities=None, **variables: str) -> Isobar:
        servers, name = (topic.servers, topic.name) if topic else (NOWHERE, "nowhere")
        own = produced.variables(api, servers, name, tmp_path / "spool")
        if cities:
            own["CITY"] = ";".join(str(city.id) for city in cities)
        return Isobar(str(isobar), tmp_path / "work", own | variables)

    return configured


def spooled(isobar: Isobar) -> list[Path]:
    return sorted(Path(isobar.variables["ISOBAR__PRODUCE__SPOOL_PATH"]).glob("*.json"))


def polls(api: OpenWeather) -> int:
    """The smallest number of polls of a city."""
    return min(len(api.served(city)) for city in api.cities)


def must_hold(api: OpenWeather, topic: ProducedTopic, cut_short: int = 0) -> int:
    """Asserts that every fetched message is in the topic once, as served, and in order for each city. At most `cut_short` polls
    may have got a response to their first call only."""
    messages = topic.messages()
    must_be_what_was_served(messages, api)
    must_be_in_order(messages)
    served = Counter(number for city in api.cities for number in api.served(city))
    found = Counter(message.served for message in messages)
    assert not found - served and (served - found).total() <= cut_short, (served - found, found - served)
    return len(messages)


def test_once_sends_a_message_for_each_form_of_a_city(producer, topic, lakes):
    with OpenWeather(CITIES) as api:
        paris, etienne, london, canada, kathmandu, svalbard = CITIES
        place = f"{svalbard.lat}, {svalbard.lon}"
        names = ["Paris", "Saint-Étienne", "London,GB", "london, ca", str(kathmandu.id), place]
        before_ms = time.time() * 1000
        said = producer(api, topic, CITY=";".join(names)).ok("produce", "--once").stdout
        assert said == f"6 messages produced to topic {topic.name}, 0 waiting\n"
        messages = topic.messages()
        must_be_what_was_served(messages, api)
        assert {message.key for message in messages} == {str(city.id) for city in CITIES}
        assert len(messages) == len(api.weather) == 6
        assert all(before_ms - 1000 <= message.timestamp_ms <= time.time() * 1000 + 1000 for message in messages)
    lake = lakes.new("local", BOOTSTRAP_SERVERS=topic.servers, TOPIC_NAME=topic.name)
    assert "6 messages landed, 0 refused" in lake.isobar.ok("land", "--from", "kafka", "--once").stdout


def test_named_city_keeps_its_name_and_id(producer, topic):
    """As with the legacy producer: another id would break the series in every table."""
    with OpenWeather(CITIES) as api:
        default = producer(api, topic, CITY=None)
        default.ok("produce", "--once")
        [message] = topic.messages()
        weather = message.value["weather"]
        assert (message.key, weather["id"], weather["name"]) == ("2988507", 2988507, "Paris")
        assert message.value["precipitations_info"]["city"] == message.value["sun_info"]["city"] == "Paris"


GZIP = 1


def test_messages_are_compressed_with_gzip_by_default(stack, producer, topic):
    """kafka-python of the legacy consumer fails at zstd and lz4, for which it has no library."""
    with OpenWeather(CITIES[:1]) as api:
        producer(api, topic).ok("produce", "--once")
    [segment] = [
        file
        for partition in range(topic.partitions())
        for file in stack.directory.glob(f"data/kafka/**/{topic.name}-{partition}/00000000000000000000.log")
        if file.stat().st_size > 0
    ]
    # The attributes of a batch follow its offset, length, epoch, magic number and checksum.
    attributes = int.from_bytes(segment.read_bytes()[21:23], "big")
    assert attributes & 0b111 == GZIP


def test_missing_topic_is_created_and_existing_one_unchanged(producer, topic):
    configured = {
        "ISOBAR__PRODUCE__TOPIC_PARTITIONS": "5",
        "ISOBAR__PRODUCE__TOPIC_REPLICATION": "1",
        "ISOBAR__PRODUCE__TOPIC_RETENTION": "30days",
        "ISOBAR__PRODUCE__COMPRESSION": "lz4",
    }
    with OpenWeather(CITIES[:1]) as api:
        producer(api, topic, **configured).ok("produce", "--once")
        assert (topic.partitions(), topic.configured("retention.ms")) == (5, str(30 * DAY_S * 1000))
        other = configured | {"ISOBAR__PRODUCE__TOPIC_PARTITIONS": "7"}
        producer(api, topic, **other).ok("produce", "--once")
        assert topic.partitions() == 5 and must_hold_twice(api, topic)
        many = ProducedTopic({"BOOTSTRAP_SERVERS": topic.servers})
        impossible = producer(api, many, **{"ISOBAR__PRODUCE__TOPIC_REPLICATION": "3"})
        says = [many.name, "produce.topic_replication", "replication"]
        impossible.refused("produce", "--once", code=1, says=says)
        impossible.refused("produce", code=1, says=says)
        assert not many.is_there()
        # Spooled messages are sent after the correction; a service may have polled more than once.
        sent = producer(api, many).ok("produce", "--once").stdout
        count, rest = sent.split(" ", 1)
        assert 3 <= int(count) <= len(api.weather) - 2 and rest == f"messages produced to topic {many.name}, 0 waiting\n"


def must_hold_twice(api: OpenWeather, topic: ProducedTopic) -> bool:
    return len(topic.messages()) == 2 and len({message.served for message in topic.messages()}) == 2


def test_message_of_a_day_of_failures_arrives_everywhere_once(producer, topic, database, lakes, figures):
    """24 hours of a simulated clock that runs faster. Messages are consumed, exported and landed meanwhile."""
    cities, step_s, interval_s = (many_cities(40), 600, 5.0) if LONG else (many_cities(6), 3600, 1.0)
    lake = lake_of(lakes, "local", topic, database, ISOBAR__LAND__INTERVAL="1s", ISOBAR__EXPORT__INTERVAL="1s")
    began, start = time.monotonic(), int(time.time()) - DAY_S
    with OpenWeather(
        cities, clock=lambda: start + (time.monotonic() - began) * step_s / interval_s, fail_rate=0.2
    ) as api, contextlib.ExitStack() as running:
        isobar = producer(api, topic, **{"ISOBAR__OPENWEATHER__INTERVAL": f"{interval_s}s"})
        with Service(isobar, "produce") as service:
            eventually(topic.is_there, "the topic")
            commands = [["consume"], ["export"], ["land", "--from", "kafka"]]
            others = [running.enter_context(lake.isobar.start(*command)) for command in commands]
            day_s = DAY_S * interval_s / step_s
            eventually(lambda: api.clock() >= start + DAY_S, "a day", within_s=day_s + 60)
            service.stop()
            assert service.ended() == 0
        assert not spooled(isobar)
        count = must_hold(api, topic)
        failed = api.count(0) + api.count(500) + api.count(502) + api.count(503)
        eventually(lambda: database.count() >= count, "all rows", TIMEOUT_S)
        eventually(lambda: len(exported_identities(lake)) >= count, "all lines", TIMEOUT_S)
        eventually(lambda: len(lake.identities()) >= count, "all of the lake", TIMEOUT_S)
        assert [end(process) for process in others] == [0, 0, 0]
    assert failed > 0.1 * api.count()
    by_files = lakes.new("local", TOPIC_NAME=topic.name)
    assert f"{count:,} messages landed, 0 refused" in by_files.isobar.land(lake.place.export_url).stdout
    produced = sorted((message.partition, message.offset) for message in topic.messages())
    found = [database.identities(), exported_identities(lake), lake.identities(), by_files.identities()]
    assert [identities == produced for identities in found] == [True] * len(found)
    for landed in [lake, by_files]:
        assert landed.rows("dead_letters") == []
    figures.record(
        "produced through 20 % failures, 24 h by the API's clock",
        f"{len(cities)} cities, {api.count()} calls, {failed} of them failed, {count} messages: the same identities, each once, in Kafka, "
        "PostgreSQL, the export files, the lake from Kafka and the lake from files",
    )


def test_failure_of_one_city_does_not_stop_others(producer, topic):
    with OpenWeather(CITIES[:4]) as api:
        broken, *others = api.cities
        isobar = producer(api, topic)
        with Service(isobar, "produce") as service:
            eventually(lambda: polls(api) >= 1, "a first poll")
            api.broken.add(broken.id)
            before = polls_of(others, api)
            eventually(lambda: polls_of(others, api) >= before + 3, "polls of the others", within_s=120)
            service.wait_until_ready()
            eventually(lambda: service.metric('isobar_polled_cities_total{outcome="failed"}') >= 1, "the failure counted")
            api.broken.clear()
            before = len(api.served(broken))
            eventually(lambda: len(api.served(broken)) >= before + 2, "the city again")
            service.stop()
            assert service.ended() == 0
            # It may have got the weather and no forecast.
            messages = Counter(message.key for message in topic.messages())
            assert all(messages[str(city.id)] == len(api.served(city)) for city in others)
            assert any("could not poll a city" in line and str(broken.id) in line for line in service.log)


def polls_of(cities, api: OpenWeather) -> int:
    return min(len(api.served(city)) for city in cities)


def test_unavailable_api_is_retried(producer, topic):
    with OpenWeather(CITIES[:2]) as api, Service(producer(api, topic), "produce") as service:
        service.wait_until_ready()  # after the first messages
        api.stop()
        eventually(lambda: service.get("/readyz")[0] == 503, "not ready", within_s=120)
        assert "unreachable" in service.get("/readyz")[1] and service.get("/healthz") == (200, "ok\n")
        before = polls(api)
        api.start()
        eventually(lambda: polls(api) >= before + 2, "polls again", within_s=120)
        service.wait_until_ready()
        service.stop()
        assert service.ended() == 0
        must_hold(api, topic, cut_short=len(api.cities))


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_messages_wait_in_the_spool_while_kafka_is_unavailable(producer, topic, stack, how, figures):
    away, back = (stack.kill, stack.start) if how == "killed" else (stack.stop, stack.cont)
    with OpenWeather(CITIES[:3]) as api:
        isobar = producer(api, topic)
        with Service(isobar, "produce") as service:
            eventually(lambda: service.metric("isobar_produced_messages_total") >= 6, "messages in Kafka")
            away("kafka")
            before = polls(api)
            eventually(lambda: polls(api) >= before + 10, "polls without Kafka")
            eventually(lambda: service.get("/readyz")[0] == 503, "not ready")
            assert "Kafka" in service.get("/readyz")[1]
            waiting = service.metric("isobar_spool_messages")
            assert waiting >= 27 and service.metric("isobar_spool_bytes") > 27 * 1000
            assert service.metric("isobar_kafka_up") == 0
            back("kafka")
            before = polls(api)
            # Messages of the last poll may be in flight.
            eventually(lambda: service.metric("isobar_spool_messages") <= 3, "an empty spool", within_s=300)
            eventually(lambda: polls(api) >= before + 2, "more polls")
            service.wait_until_ready()
            service.stop()
            assert service.ended() == 0
        assert not spooled(isobar)
        count = must_hold(api, topic)
    figures.record(f"Kafka {how} under produce", f"{int(waiting)} messages waited, {count} in all: 0 lost, 0 double")


def test_spooled_messages_survive_a_kill_and_are_sent_by_the_next_start(producer, topic):
    with OpenWeather(CITIES[:3]) as api:
        isobar = producer(api, topic)
        with Service(isobar.having(BOOTSTRAP_SERVERS=NOWHERE), "produce") as service:
            eventually(lambda: len(spooled(isobar)) >= 12, "messages in the spool")
            service.kill()
        waiting = [json.loads(path.read_bytes())["weather"]["served"] for path in spooled(isobar)]
        assert len(waiting) >= 12
        started_at = polls(api)
        isobar.ok("produce", "--once")
        messages = topic.messages()
        must_be_what_was_served(messages, api)
        must_be_in_order(messages)
        sent = sorted(message.served for message in messages)
        # And those that the second process fetched.
        assert len(set(sent)) == len(sent) == len(waiting) + 3 and set(waiting) <= set(sent)
        assert polls(api) >= started_at + 1 and not spooled(isobar)


def test_kill_loses_no_spooled_message(producer, topic, figures):
    chance = random.Random(9)
    kept: set[int] = set()
    with OpenWeather(many_cities(12)) as api:
        isobar = producer(api, topic, **{"ISOBAR__OPENWEATHER__INTERVAL": "50ms"})
        for _ in range(KILLS):
            before = polls(api)
            with Service(isobar, "produce") as service:
                eventually(lambda: polls(api) > before + 2, "polls", within_s=120)  # noqa: B023
                time.sleep(chance.random() * 0.3)
                service.kill()
            kept |= {json.loads(path.read_bytes())["weather"]["served"] for path in spooled(isobar)}
        isobar.ok("produce", "--once")
        messages = topic.messages()
        must_be_what_was_served(messages, api)
        counts = Counter(message.served for message in messages)
        served = {number for city in api.cities for number in api.served(city)}
        lost = served - counts.keys()
        twice = sum(counts.values()) - len(counts)
    assert kept <= counts.keys()
    # At the kill, up to eight cities had the weather and not yet the other sections.
    assert len(lost) <= 8 * KILLS
    # Confirmed and not yet removed at the kill: a batch at most.
    assert twice <= len(api.cities) * KILLS
    figures.record(
        "kill -9 under produce",
        f"{KILLS} kills, {len(counts)} messages: {len(kept)} found in the spool, 0 of them lost, {twice} double",
    )


def test_full_spool_stops_polling_and_is_reported(producer, topic):
    with OpenWeather(CITIES[:2]) as api:
        isobar = producer(api, topic, ISOBAR__PRODUCE__SPOOL_BYTES_MAX="10kB")
        with Service(isobar.having(BOOTSTRAP_SERVERS=NOWHERE), "produce") as service:
            eventually(lambda: service.metric("isobar_skipped_polls_total") >= 3, "polls left out")
            calls, waiting = api.count(), len(spooled(isobar))
            eventually(lambda: service.metric("isobar_skipped_polls_total") >= 6, "more polls left out")
            assert (api.count(), len(spooled(isobar))) == (calls, waiting)
            assert sum(path.stat().st_size for path in spooled(isobar)) < 30_000
            status, reason = service.get("/readyz")
            assert status == 503 and "produce.spool_bytes_max" in reason
            assert sum("produce.spool_bytes_max" in line for line in service.log) == 1
            service.stop()
            assert service.ended() == 0
        with Service(isobar, "produce") as service:
            eventually(lambda: polls(api) > waiting / 2 + 1, "polls again")
            service.stop()
            assert service.ended() == 0
        must_hold(api, topic)


def test_unwritable_spool_stops_polling_and_is_named(producer):
    with OpenWeather(CITIES[:2]) as api:
        isobar = producer(api, None)
        with Service(isobar, "produce") as service:
            eventually(lambda: spooled(isobar), "messages in the spool")
            spool = Path(isobar.variables["ISOBAR__PRODUCE__SPOOL_PATH"])
            # At once: a message may be in flight to the spool.
            spool.rename(spool.with_name("gone"))
            eventually(lambda: service.metric("isobar_skipped_polls_total") >= 1, "a poll left out")
            calls = api.count()
            eventually(lambda: service.metric("isobar_skipped_polls_total") >= 4, "more polls left out")
            assert api.count() == calls
            status, reason = service.get("/readyz")
            assert status == 503 and "cannot be written" in reason and "produce.spool_path" in reason
            service.stop()
            # Fetched messages that only this process has.
            assert service.ended() == 1
            assert "could not be kept in the spool" in service.log[-1]


def test_message_that_kafka_refuses_does_not_block_others(producer, topic):
    small = NewTopic(topic.name, 1, config={"max.message.bytes": "8000"})
    topic.admin.create_topics([small])[topic.name].result(30)
    large, *others = CITIES[:4]
    with OpenWeather(CITIES[:4], forecasts={large.id: 40}) as api:
        isobar = producer(api, topic, ISOBAR__PRODUCE__COMPRESSION="none")
        outcome = isobar.refused("produce", "--once", code=1, says=["refused a message for good", "are lost: 1;"])
        assert str(large.id) in outcome.stderr and not spooled(isobar)
        messages = topic.messages()
        must_be_what_was_served(messages, api)
        assert sorted(message.key for message in messages) == sorted(str(city.id) for city in others)


def test_sigterm_sends_the_fetched_messages(producer, topic):
    with OpenWeather(many_cities(30), latency_s=0.2) as api:
        isobar = producer(api, topic, ISOBAR__OPENWEATHER__INTERVAL="1h")
        with Service(isobar, "produce") as service:
            eventually(lambda: len(api.weather) >= 10, "the middle of a poll")
            service.stop()
            assert service.ended() == 0
        # Polls in progress are completed, and no others start.
        messages = topic.messages()
        assert 1 <= len(messages) < 30 and not spooled(isobar)
        must_hold(api, topic)


def test_sigterm_does_not_wait_for_unavailable_kafka(producer):
    with OpenWeather(CITIES[:2]) as api:
        isobar = producer(api, None, ISOBAR__PRODUCE__SHUTDOWN_DEADLINE="1h")
        with Service(isobar, "produce") as service:
            eventually(lambda: service.metric("isobar_spool_messages") >= 4, "messages in the spool")
            eventually(lambda: "Kafka" in service.get("/readyz")[1], "not ready")
            service.stop()
            assert service.ended() == 0
        assert len(spooled(isobar)) >= 4


def test_once_without_kafka_spools_messages_and_fails(producer, topic):
    with OpenWeather(CITIES[:2]) as api:
        isobar = producer(api, topic)
        nowhere = isobar.having(BOOTSTRAP_SERVERS=NOWHERE)
        says = ["did not reach Kafka: 2;", isobar.variables["ISOBAR__PRODUCE__SPOOL_PATH"], NOWHERE]
        nowhere.refused("produce", "--once", code=1, says=says)
        assert len(spooled(isobar)) == 2
        assert "4 messages produced" in isobar.ok("produce", "--once").stdout


def test_dry_run_prints_messages_and_changes_nothing(producer):
    with OpenWeather(CITIES[:3], fail_rate=0.2) as api:
        isobar = producer(api, None)
        lines = isobar.ok("produce", "--dry-run").stdout.splitlines()
        assert sorted(json.loads(line)["weather"]["id"] for line in lines) == sorted(city.id for city in api.cities)
        assert all(api.weather[json.loads(line)["weather"]["served"]].decode() in line for line in lines)
        outcome = isobar.having(CITY="Paris;Atlantis").run("produce", "--dry-run")
        assert outcome.code == 1 and len(outcome.stdout.splitlines()) == 1 and "Atlantis" in outcome.stderr
    assert not os.path.exists(isobar.variables["ISOBAR__PRODUCE__SPOOL_PATH"])


@pytest.mark.parametrize("how", [[], ["--once"], ["--dry-run"]], ids=" ".join)
def test_mistake_is_refused_with_its_remedy(producer, topic, how):
    with OpenWeather(CITIES) as api:
        isobar = producer(api, topic, CITY="Paris")

        def refused(says: list[str], **variables: str | None) -> None:
            isobar.having(**variables).refused("produce", *how, code=1, says=says)

        refused(["OPENWEATHER_API_KEY"], OPENWEATHER_API_KEY=None)
        refused(["API key was refused", "OPENWEATHER_API_KEY"], OPENWEATHER_API_KEY="another-key-of-some-length")
        refused(["Atlantis", "CITY", "id"], CITY="Paris;Atlantis")
        refused(["1234567", "CITY"], CITY="1234567")
        refused(["CITY", "latitude"], CITY="91,2")
        refused(["CITY", "two-letter"], CITY="Paris,France")
        refused(["CITY", "twice"], CITY="Paris;Paris")
        # Messages of the other cities were sent.
        sent = {message.key for message in topic.messages()}
        assert sent == (set() if how == ["--dry-run"] else {str(CITIES[0].id)})


def test_spool_is_used_by_one_producer(producer, tmp_path):
    with OpenWeather(CITIES[:1]) as api:
        isobar = producer(api, None)
        with Service(isobar, "produce"):
            says = ["another `isobar produce`", str(tmp_path / "spool"), "produce.spool_path"]
            isobar.refused("produce", "--once", code=1, says=says)
        (tmp_path / "file").write_text("")
        blocked = isobar.having(ISOBAR__PRODUCE__SPOOL_PATH=str(tmp_path / "file" / "spool"))
        blocked.refused("produce", code=1, says=["produce.spool_path", str(tmp_path / "file")])


def test_minute_has_at_most_the_calls_of_the_plan(producer, topic):
    calls_max, cities = (60, many_cities(25)) if LONG else (12, many_cities(4))
    with OpenWeather(cities, calls_per_window=calls_max) as api:
        isobar = producer(api, topic, ISOBAR__OPENWEATHER__CALLS_PER_MINUTE=str(calls_max))
        assert f"{len(cities)} messages produced" in isobar.ok("produce", "--once").stdout
        assert api.count() == 4 * len(cities) > calls_max and api.count(429) == 0


def test_requested_pause_of_the_server_is_kept(producer, topic):
    """The server counts differently, or other clients use the key."""
    with OpenWeather(CITIES, calls_per_window=7, window_s=3.0, retry_after_s=3) as api:
        isobar = producer(api, topic)
        assert "6 messages produced" in isobar.ok("produce", "--once").stdout
        assert api.count(429) >= 2
        refusals = [call.at for call in api.calls if call.status == 429]
        # Calls in flight at the time of the response are allowed: three each of eight cities.
        for first in bursts(refusals):
            assert sum(first + 1 < call.at < first + 2.9 for call in api.calls) == 0


def bursts(times: list[float]) -> list[float]:
    """The first time of each burst."""
    return [at for at, before in zip(times, [float("-inf"), *times[:-1]], strict=True) if at - before > 1]


def test_api_key_is_never_shown(producer, topic, tmp_path):
    """The API echoes the key, all calls fail, and everything is logged."""
    key = CANARIES["OPENWEATHER_API_KEY"]
    with OpenWeather(CITIES[:3], fail_rate=0.5) as api:
        isobar = producer(api, topic)
        with Service(isobar, "-vv", "produce") as service:
            eventually(lambda: polls(api) >= 3, "polls", within_s=120)
            _, metrics = service.get("/metrics")
            service.stop()
            assert service.ended() == 0
        assert any("trying again" in line for line in service.log)
        assert not any("appid" in line for line in service.log)
        assert key not in metrics and key.encode() not in b"".join(message.raw for message in topic.messages())
        outcome = isobar.having(OPENWEATHER_API_KEY=key[:-1] + "x").run("-vv", "produce", "--once")
        assert outcome.code == 1 and key[:-1] not in outcome.stderr + outcome.stdout


def test_metrics_count_polls_and_messages(producer, topic):
    with OpenWeather(CITIES[:2], fail_rate=0.3) as api, Service(producer(api, topic), "produce") as service:
        # A poll is counted before Kafka confirms its messages, and the retries of a city may run out.
        eventually(lambda: service.metric('isobar_polled_cities_total{outcome="ok"}') >= 8, "polls", within_s=120)
        eventually(lambda: service.metric("isobar_produced_messages_total") >= 8, "messages in Kafka")
        assert service.get("/healthz") == (200, "ok\n")
        assert service.metric("isobar_polls_total") >= 4
        assert service.metric("isobar_openweather_calls_total") > 24
        assert service.metric("isobar_openweather_retries_total") > 0
        assert service.metric("isobar_kafka_up") == 1
        assert time.time() - 60 < service.metric("isobar_last_produced_timestamp_seconds") <= time.time() + 1


def test_deleted_topic_is_created_again(producer, topic):
    with OpenWeather(CITIES[:2]) as api, Service(producer(api, topic), "produce") as service:
        eventually(lambda: service.metric("isobar_produced_messages_total") >= 4, "messages in Kafka")
        topic.admin.delete_topics([topic.name])[topic.name].result(30)
        after = max(api.weather)
        eventually(lambda: any(m.served > after for m in topic.messages()), "messages in a new topic", within_s=180)
        service.stop()
        assert service.ended() == 0
