"""Malformed messages among many well-formed ones: each is refused once with its reason, and the others land as fast as without them."""

import statistics
from collections.abc import Callable
from datetime import date

from support import oracle
from support.binary import Outcome
from support.fixtures import LONG
from support.malformed import KINDS, OF_MESSAGES, REASONS
from support.topic import Topic, compare_dead_letters, weather
from support.weather_data import CITIES, build, day_range
from test_kafka import lake_of

GOOD = 100_000 if LONG else 2_000
DAYS = day_range(date(2026, 1, 1), -(-GOOD // (144 * len(CITIES))))
# Messages of each kind.
EACH = 10 if LONG else 1
ROUNDS = 7
LOSS_MAX = 0.10
FROM_KAFKA = ["land", "--from", "kafka", "--once"]
# Differences for sources without lines.
NO_OBJECT = ["value is null", "value is a number", "value is true", "value is a text", "value is an array"]
OF_KAFKA = (
    {kind: REASONS[kind] for kind in OF_MESSAGES} | dict.fromkeys(NO_OBJECT, "not_an_object") | {"no value": "empty"}
)


def test_reason_is_listed_for_each_kind():
    assert REASONS.keys() == KINDS.keys()
    assert len(OF_MESSAGES) >= 28 and len(KINDS) >= 29


def test_malformed_messages_from_kafka_are_refused_with_their_reason(lakes, topic, kafka, figures):
    good = weather(DAYS, CITIES)
    topic.produce(good, OF_MESSAGES * EACH)
    lake = lake_of(lakes, "local", topic)
    lake.isobar.ok(*FROM_KAFKA)
    assert lake.identities() == oracle.identities(topic.records)
    dead_letters = lake.rows("dead_letters")
    compare_dead_letters(dead_letters, topic.bad, topic.name)
    kinds = {bad.identity: bad.kind for bad in topic.bad}
    must_have_reasons(dead_letters, lambda dead_letter: kinds[dead_letter["kafka_partition"], dead_letter["kafka_offset"]], OF_KAFKA)
    figures.record("malformed among good ones from Kafka", counts(OF_MESSAGES, topic.bad, topic.records))
    if LONG:
        alone = Topic(kafka)
        alone.produce(good)
        must_be_about_as_fast(
            figures, "Kafka", lambda mixed: lake_of(lakes, "local", topic if mixed else alone).isobar.ok(*FROM_KAFKA)
        )


def test_malformed_lines_of_files_are_refused_with_their_reason(lakes, figures):
    mixed, alone = build(DAYS, CITIES, malformed=list(KINDS) * EACH), build(DAYS, CITIES)
    assert len(mixed.records) == len(alone.records)
    lake, other = lakes.new("local"), lakes.new("local")
    lake.put(mixed.files)
    lake.land()
    lake.must_have_landed(mixed.records, mixed.bad)
    kinds = {(bad.path, bad.line): bad.kind for bad in mixed.bad}
    must_have_reasons(
        lake.rows("dead_letters"),
        lambda dead_letter: kinds["/".join(dead_letter["path"].split("/")[-2:]), dead_letter["line"]],
        REASONS,
    )
    figures.record("malformed among good ones from files", counts(KINDS, mixed.bad, mixed.records))
    if LONG:
        other.put(alone.files)
        must_be_about_as_fast(
            figures, "files", lambda mixed: lakes.new("local").isobar.land((lake if mixed else other).place.export_url)
        )


def must_have_reasons(dead_letters: list[dict], kind_of: Callable[[dict], str], reasons: dict[str, str]) -> None:
    found = {(kind_of(dead_letter), dead_letter["reason"]) for dead_letter in dead_letters}
    assert found == set(reasons.items()), sorted(found ^ set(reasons.items()))


def counts(kinds, bad: list, records: list) -> str:
    return f"{len(kinds)} kinds, {len(bad)} dead letters, {len(records)} rows: each once"


def must_be_about_as_fast(figures, source: str, land: Callable[[bool], Outcome]) -> None:
    """Asserts that landing with malformed messages is about as fast as without. The rounds alternate, and the fastest of each
    counts, since other load only slows them down."""
    with_bad, alone = [], []
    for _ in range(ROUNDS):
        with_bad.append(land(True))
        alone.append(land(False))
    seconds = [min(outcome.seconds for outcome in outcomes) for outcomes in (with_bad, alone)]
    cpu_s = [statistics.median(outcome.cpu_s for outcome in outcomes) for outcomes in (with_bad, alone)]
    loss = 1 - seconds[1] / seconds[0]
    figures.record(
        f"malformed among good ones from {source}: loss of throughput",
        f"{loss:.1%}; the quickest of {ROUNDS} {seconds[0]:.2f} s with them, {seconds[1]:.2f} s without; "
        f"CPU {cpu_s[0]:.2f} s and {cpu_s[1]:.2f} s",
    )
    assert loss <= LOSS_MAX
