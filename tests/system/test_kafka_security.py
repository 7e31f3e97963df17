"""Kafka with TLS and passwords: right settings connect, and wrong settings are named."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from support import oracle
from support.binary import TIMEOUT_S, Isobar
from support.database import Database, compare_weather
from support.openweather import OpenWeather
from support.produced import ProducedTopic, must_be_what_was_served
from support.service import Service
from support.topic import Topic, weather
from support.weather_data import CITIES
from support.web import eventually

WRONG = "canary-wrong-91be07"
# Limit of the time until a wrong setting is named.
SAYS_WITHIN_S = 120


def at(kafka: dict[str, str], listener: str, protocol: str, **keys: str) -> dict[str, str]:
    """The variables of a client of this listener, with these keys of section [kafka]."""
    keys = {"security_protocol": protocol} | keys
    return {"BOOTSTRAP_SERVERS": kafka[listener]} | {f"ISOBAR__KAFKA__{name.upper()}": keys[name] for name in keys}


def file_of(kafka: dict[str, str], name: str) -> str:
    return f"{kafka['KAFKA_CERTIFICATES']}/{name}"


def root(kafka: dict[str, str]) -> dict[str, str]:
    return {"root_certificate": file_of(kafka, "ca.crt")}


def user(kafka: dict[str, str], mechanism: str, **keys: str) -> dict[str, str]:
    own = {"sasl_username": kafka["KAFKA_USER"], "sasl_password": kafka["KAFKA_PASSWORD"]}
    return {"sasl_mechanism": mechanism} | own | keys


def client(kafka: dict[str, str], **keys: str) -> dict[str, str]:
    own = {"client_certificate": file_of(kafka, "client.crt"), "client_key": file_of(kafka, "client.key")}
    return own | {"client_key_password": kafka["KAFKA_KEY_PASSWORD"]} | keys


WAYS = {
    "PLAIN over TLS": lambda kafka: at(kafka, "KAFKA_SASL", "sasl_ssl", **root(kafka), **user(kafka, "plain")),
    "SCRAM-SHA-256 over TLS": lambda kafka: at(
        kafka, "KAFKA_SASL", "sasl_ssl", **root(kafka), **user(kafka, "scram-sha-256")
    ),
    "SCRAM-SHA-512 over TLS": lambda kafka: at(
        kafka, "KAFKA_SASL", "sasl_ssl", **root(kafka), **user(kafka, "scram-sha-512")
    ),
    "mutual TLS": lambda kafka: at(kafka, "KAFKA_MUTUAL", "ssl", **root(kafka), **client(kafka)),
    "TLS": lambda kafka: at(kafka, "KAFKA_TLS", "ssl", **root(kafka)),
    "SCRAM-SHA-512 without TLS": lambda kafka: at(
        kafka, "KAFKA_SASL_PLAINTEXT", "sasl_plaintext", **user(kafka, "scram-sha-512")
    ),
}


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """A directory with an untrusted certificate and its key."""
    place = tmp_path_factory.mktemp("other")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    files = ["-subj", "/CN=other", "-keyout", f"{place}/other.key", "-out", f"{place}/other.crt"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    return place


def producing(isobar: Isobar, api: OpenWeather, spool: Path) -> Isobar:
    return isobar.having(
        CITY=";".join(str(city.id) for city in api.cities),
        ISOBAR__OPENWEATHER__BASE_URL=api.url,
        ISOBAR__PRODUCE__SPOOL_PATH=str(spool),
        ISOBAR__PRODUCE__HTTP_LISTEN="127.0.0.1:0",
    )


@pytest.mark.parametrize("way", WAYS)
def test_secured_topic_is_produced_and_landed(lakes, kafka, tmp_path, way, figures):
    topic = ProducedTopic(kafka)
    lake = lakes.new("local", TOPIC_NAME=topic.name, **WAYS[way](kafka))
    with OpenWeather(CITIES) as api:
        # The producer creates the missing topic over the same connection.
        producing(lake.isobar, api, tmp_path / "spool").ok("produce", "--once")
        # Another client reads them over the unprotected listener.
        messages = topic.messages()
        must_be_what_was_served(messages, api)
    assert {message.key for message in messages} == {str(city.id) for city in CITIES}
    assert f"{len(CITIES)} messages landed, 0 refused" in lake.isobar.ok("land", "--from", "kafka", "--once").stdout
    assert lake.identities() == sorted((message.partition, message.offset) for message in messages)
    figures.record(f"Kafka, {way}", f"{len(messages)} messages produced and landed")


def test_secrets_in_files_are_used_by_every_command(lakes, kafka, postgres, tmp_path):
    topic, database = Topic(kafka), Database(postgres)
    topic.produce(weather([date(2026, 1, 15)], CITIES[:1])[:20])
    (tmp_path / "password").write_text(kafka["KAFKA_PASSWORD"] + "\n")
    way = WAYS["SCRAM-SHA-256 over TLS"](kafka) | database.variables
    del way["ISOBAR__KAFKA__SASL_PASSWORD"]
    way["ISOBAR__KAFKA__SASL_PASSWORD_FILE"] = str(tmp_path / "password")
    isobar = lakes.new("local", TOPIC_NAME=topic.name, **way).isobar
    shown = isobar.ok("config", "show").stdout
    assert any("kafka.sasl_password" in line and "***" in line for line in shown.splitlines()), shown
    assert f"ok      kafka    {kafka['KAFKA_SASL']}  topic {topic.name}, 3 partitions\n" in isobar.ok("check").stdout
    assert "20 messages inserted" in isobar.ok("consume", "--once").stdout
    compare_weather(database, topic.records, topic.name)


def test_wrong_setting_is_named(lakes, kafka, other, figures):
    sasl, tls, mutual, plain = (kafka[name] for name in ["KAFKA_SASL", "KAFKA_TLS", "KAFKA_MUTUAL", "BOOTSTRAP_SERVERS"])
    authority, roots = root(kafka), {"root_certificate": str(other / "other.crt")}
    own = {"client_certificate": str(other / "other.crt"), "client_key": str(other / "other.key")}
    denied = [sasl, r"user \W+weather\W", "kafka.sasl_password", "ISOBAR__KAFKA__SASL_PASSWORD"]
    protocol = ["kafka.security_protocol", "ISOBAR__KAFKA__SECURITY_PROTOCOL", "BOOTSTRAP_SERVERS"]
    cases = {
        "wrong password, PLAIN": (
            at(kafka, "KAFKA_SASL", "sasl_ssl", **authority, **user(kafka, "plain", sasl_password=WRONG)), denied
        ),
        "wrong password, SCRAM": (
            at(kafka, "KAFKA_SASL", "sasl_ssl", **authority, **user(kafka, "scram-sha-512", sasl_password=WRONG)), denied
        ),
        "unknown user": (
            at(kafka, "KAFKA_SASL", "sasl_ssl", **authority, **user(kafka, "scram-sha-256", sasl_username="nobody")),
            [sasl, r"user \W+nobody\W", "kafka.sasl_username"],
        ),
        "mechanism that is not offered": (
            at(kafka, "KAFKA_SASL_PLAINTEXT", "sasl_plaintext", **user(kafka, "plain")),
            [kafka["KAFKA_SASL_PLAINTEXT"], r"kafka.sasl_mechanism = \W+plain\W", "ISOBAR__KAFKA__SASL_MECHANISM", "SCRAM-SHA-512"],
        ),
        "unknown authority": (
            at(kafka, "KAFKA_TLS", "ssl", **roots), [tls, "certificate", str(other), "kafka.root_certificate"]
        ),
        "not of the system's authorities": (
            at(kafka, "KAFKA_SASL", "sasl_ssl", **user(kafka, "plain")), [sasl, "certificate", "system's", "root_certificate"]
        ),
        "certificate of another host": (
            at(kafka, "KAFKA_TLS", "ssl", **authority) | {"BOOTSTRAP_SERVERS": tls.replace("localhost", "127.0.0.1")},
            [tls.replace("localhost", "127.0.0.1"), "certificate", "host"],
        ),
        "no certificate of the client": (
            at(kafka, "KAFKA_MUTUAL", "ssl", **authority), [mutual, "without a certificate", "kafka.client_certificate"]
        ),
        "untrusted certificate of the client": (
            at(kafka, "KAFKA_MUTUAL", "ssl", **authority, **own), [mutual, str(other), "kafka.client_certificate"]
        ),
        "TLS where there is none": (
            at(kafka, "BOOTSTRAP_SERVERS", "ssl", **authority), [plain, *protocol]
        ),
        "no TLS where there is": (at(kafka, "KAFKA_TLS", "plaintext"), [tls, *protocol]),
        "a user without TLS where there is": (
            at(kafka, "KAFKA_SASL", "sasl_plaintext", **user(kafka, "scram-sha-256")), [sasl, *protocol]
        ),
        "a user where there are none": (
            at(kafka, "KAFKA_TLS", "sasl_ssl", **authority, **user(kafka, "plain")), [tls, *protocol]
        ),
        "no user where there are some": (at(kafka, "KAFKA_SASL", "ssl", **authority), [sasl, *protocol]),
        "wrong password of the key": (
            at(kafka, "KAFKA_MUTUAL", "ssl", **authority, **client(kafka, client_key_password=WRONG)),
            ["kafka.client_key_password", "ISOBAR__KAFKA__CLIENT_KEY_PASSWORD"],
        ),
        "key of another certificate": (
            at(kafka, "KAFKA_MUTUAL", "ssl", **authority, **client(kafka, client_key=own["client_key"])),
            ["kafka.client_key", "mismatch"],
        ),
        "no such file": (
            at(kafka, "KAFKA_TLS", "ssl", root_certificate="/not/there.pem"), ["kafka.root_certificate", "/not/there.pem"]
        ),
        "a user and no word of SASL": (
            {"ISOBAR__KAFKA__SASL_PASSWORD": WRONG}, ["kafka.sasl_password", "kafka.security_protocol", "sasl_ssl"]
        ),
    }  # fmt: skip
    # With the log of librdkafka too.
    arguments = ["-v", "land", "--from", "kafka", "--once"]

    def refused(case: str) -> float:
        variables, says = cases[case]
        isobar = lakes.new("local", TOPIC_NAME="not-there", **variables).isobar
        outcome = isobar.refused(*arguments, code=1, says=says, within_s=SAYS_WITHIN_S)
        # The remedy names our settings.
        assert "ssl.ca.location" not in last_line(outcome.stderr), f"{case}: {outcome}"
        return outcome.seconds

    with ThreadPoolExecutor(6) as threads:
        longest = max(threads.map(refused, cases))
    figures.record("Kafka refuses a client", f"{len(cases)} mistakes, each by name within {longest:.1f} s")


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_login_refused_at_first_ends_the_service(lakes, kafka, tmp_path):
    says = ["does not let user", "kafka.sasl_password"]
    wrong = at(kafka, "KAFKA_SASL", "sasl_ssl", **root(kafka), **user(kafka, "scram-sha-256", sasl_password=WRONG))
    with OpenWeather(CITIES[:1]) as api:

        def refused(number: int, *arguments: str) -> None:
            isobar = lakes.new("local", ISOBAR__CONSUME__HTTP_LISTEN="127.0.0.1:0", **wrong).isobar
            isobar = producing(isobar, api, tmp_path / f"spool-{number}")
            isobar.refused(*arguments, code=1, says=says, within_s=SAYS_WITHIN_S)

        commands = [
            ["land", "--from", "kafka"], ["consume"], ["consume", "--once"], ["produce"], ["produce", "--once"], ["check"],
        ]  # fmt: skip
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda numbered: refused(numbered[0], *numbered[1]), enumerate(commands)))
    # Polled messages wait in the spool.
    assert len(list(tmp_path.glob("spool-*/*.json"))) == 2


def set_password(topic: Topic, name: str, password: str) -> None:
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    changed = topic.admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(name, credential, password.encode())]
    )
    changed[name].result(30)


def test_login_refused_later_is_retried(lakes, stack, kafka, figures):
    topic = Topic(kafka)
    records = weather([date(2026, 1, 15)], CITIES[:1])[:40]
    set_password(topic, "passing", kafka["KAFKA_PASSWORD"])
    way = at(kafka, "KAFKA_SASL", "sasl_ssl", **root(kafka), **user(kafka, "scram-sha-512", sasl_username="passing"))
    lake = lakes.new("local", TOPIC_NAME=topic.name, ISOBAR__LAND__INTERVAL="200ms", **way)
    with Service(lake.isobar, "land", "--from", "kafka") as service:
        topic.produce(records[:20])
        eventually(lambda: service.metric('isobar_landed_rows_total{table="weather"}') == 20, "the first rows", TIMEOUT_S)
        service.wait_until_ready()
        set_password(topic, "passing", WRONG)
        stack.kill("kafka")
        stack.start("kafka")
        eventually(lambda: "does not let user" in service.get("/readyz")[1], "the refused login", TIMEOUT_S)
        assert service.process.poll() is None
        started = time.monotonic()
        set_password(topic, "passing", kafka["KAFKA_PASSWORD"])
        topic.produce(records[20:])
        eventually(lambda: service.metric('isobar_landed_rows_total{table="weather"}') == 40, "the other rows", TIMEOUT_S)
        seconds = time.monotonic() - started
        service.wait_until_ready()
        service.stop()
        assert service.ended() == 0
    assert lake.identities() == oracle.identities(topic.records)
    figures.record("Kafka lets a landing in again: until it has landed", f"{seconds:.1f} s")
