"""How fast `isobar consume` copies a topic into PostgreSQL, against a Python consumer that commits each message.

Claim, for messages of 1.5 KB in three topic partitions of a real broker: at least 20 times the messages a second.

The Python consumer, as in the legacy pipeline (`consume_baseline.py`), reads the first `--part` messages, and its time starts
with the first one; isobar reads all of them, as a whole process. PostgreSQL makes each commit durable, as by default. Each fills
a new database. A round counts only if that of isobar has each message once, and the rows of the Python consumer are equal.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backlog import Backlog, fill
from comparison import WARM_UPS, Comparison, Timing, arguments, as_times, per_second, say
from stack import Stack, session
from support.binary import REPOSITORY, Isobar
from support.database import ROLE, SECRET, Database
from support.topic import Topic

TARGET = 20


def main() -> int:
    given = arguments(__doc__, cities=100, days=14, part=10_000, rounds=3)
    os.environ["POSTGRES_FSYNC"] = "on"  # tests switch it off
    with session() as stack, tempfile.TemporaryDirectory(prefix="isobar-bench-") as directory:
        stack.start("kafka", "postgres")
        backlog = fill(Topic(stack.variables("kafka")), given.cities, given.days)
        timings = measure(stack, given.binary, Path(directory), backlog, given.part, given.rounds)
    comparison = Comparison(
        suite="consume",
        title="Copying a Kafka topic to PostgreSQL against a commit for each message",
        work=f"{backlog.in_words}; the Python consumer takes {given.part} of them",
        against="of the Python consumer",
        speed_in_words=as_times,
        median_in_words=per_second(backlog.messages, "messages"),
        command="make bench-ingest",
    )
    return comparison.report(timings, kept=given.kept)


def measure(stack: Stack, binary: str, directory: Path, backlog: Backlog, part: int, rounds: int) -> list[Timing]:
    theirs, ours = [], []
    for n in range(WARM_UPS + rounds):
        one_by_one, at_once = (Database(stack.variables("postgres")) for _ in range(2))
        assert [*one_by_one.rows("SHOW fsync")] == [("on",)], "PostgreSQL is not what it is at work"
        slow = run_baseline(backlog.topic, one_by_one, part)
        fast = consume(binary, directory, backlog, at_once)
        compare(one_by_one, at_once, part)
        one_by_one.drop()
        at_once.drop()
        if n < WARM_UPS:
            continue
        theirs.append(slow)
        ours.append(fast)
        say(f"round {len(ours)}: {part / slow:.0f} messages/s one by one, isobar {backlog.messages / fast:.0f} messages/s")
    return [
        Timing("Python consumer, INSERT and commit for each message", theirs, share=part / backlog.messages),
        Timing("`isobar consume --once`, whole process, new database", ours, TARGET),
    ]


def run_baseline(topic: Topic, database: Database, part: int) -> float:
    client = {
        "PGHOST": database.host, "PGPORT": database.port, "PGDATABASE": database.name, "PGUSER": ROLE, "PGPASSWORD": SECRET
    }  # fmt: skip
    command = [sys.executable, REPOSITORY / "benches" / "consume_baseline.py", topic.servers, topic.name, str(part)]
    return float(subprocess.run(command, env=os.environ | client, stdout=subprocess.PIPE, check=True).stdout)


def consume(binary: str, directory: Path, backlog: Backlog, database: Database) -> float:
    """Returns the seconds. Table `weather` must then have each message once."""
    source = {"BOOTSTRAP_SERVERS": backlog.topic.servers, "TOPIC_NAME": backlog.topic.name}
    own = {"ISOBAR__CONSUME__HTTP_LISTEN": "127.0.0.1:0", "ISOBAR__LAKE__URL": f"file://{directory}/lake"}
    isobar = Isobar(binary, directory / "work", own | source | database.variables)
    started = time.perf_counter()
    isobar.ok("consume", "--once")
    seconds = time.perf_counter() - started
    assert database.identities() == backlog.identities, "not each message was copied once"
    return seconds


def compare(one_by_one: Database, at_once: Database, part: int) -> None:
    """Asserts that both tables have the same rows, as far as the Python consumer wrote them."""
    rows = "SELECT partition, msg_offset, date_time, md5(value::text) FROM weather"
    theirs = set(one_by_one.rows(rows))
    assert len(theirs) == one_by_one.count() == part, "the Python consumer wrote another number of rows"
    assert theirs <= set(at_once.rows(rows)), "the rows differ"


if __name__ == "__main__":
    sys.exit(main())
