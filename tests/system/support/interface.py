"""The interface on which scripts, dashboards and other readers rely, as facts of one line each, read from a binary.

Each function of `ALONE` needs a local directory only, each of `WITH_SERVERS` needs Kafka and PostgreSQL besides.
"""

import json
import re
import shutil
import signal
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import pyarrow.parquet

from support import delta, produced
from support.binary import CANARIES, Isobar
from support.database import Database
from support.flight import Server
from support.lake import DAILY, DAILY_TABLE, Lake
from support.openweather import OpenWeather
from support.places import LocalPlace
from support.service import Service
from support.topic import Topic, weather
from support.weather_data import CITIES, build
from support.web import Web, eventually

DAY = date(2026, 1, 15)
LANDED = ["weather", "weather_forecast", "dead_letters"]
# Values of these labels follow the input; those of other labels are constants of the program.
NAMES = {"table", "topic", "topic_partition", "version", "reason"}


class Subject:
    """A binary with its query files, and a lake that it has landed and aggregated."""

    def __init__(self, binary: str | Path, queries: str | Path, directory: Path):
        self.directory = directory
        place = LocalPlace(directory / "place")
        self.isobar = Isobar.at(str(binary), directory / "work", place, ISOBAR__QUERIES__PATH=str(queries))
        self.lake = Lake(place, self.isobar)
        self.lake.land_and_aggregate(build([DAY], CITIES[:1], forecasts=1, malformed=["no weather"]).files)

    def bare(self, **variables: str) -> Isobar:
        """The binary with these variables only."""
        unset = dict.fromkeys([*self.isobar.variables, *CANARIES, "HDFS_USER", "ISOBAR__QUERIES__PATH"])
        unset["ISOBAR__LAND__HTTP_LISTEN"] = None
        return self.isobar.having(**unset | variables)


def commands(subject: Subject) -> Iterator[str]:
    """Each command with its usage, its arguments, its flags, and their values and defaults."""
    return _command(subject.isobar, [])


def _command(isobar: Isobar, path: list[str]) -> Iterator[str]:
    name = " ".join(["isobar", *path])
    text = isobar.ok(*path, "-h").stdout.split("EXAMPLES:")[0]
    sections = re.split(r"^(\w+): ?\n", text, flags=re.MULTILINE)
    yield f"{name} | {re.search(r'^Usage: (.*)', sections[0], re.MULTILINE)[1]}"
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        for entry in re.split(r"\n(?= {2,6}[-<\[a-z])", f"\n{body}")[1:]:
            said = " ".join(entry.split())
            if title == "Commands":
                yield from [] if said.startswith("help ") else _command(isobar, [*path, said.split()[0]])
                continue
            word = re.match(r"\s*(.*?)(?:\s{2,}|\n|$)", entry)[1]
            values = re.findall(r"\[(?:possible values|default|env|aliases): [^\]]*\]", said)
            yield " ".join([f"{name} | {word}", *values])


def configuration(subject: Subject) -> Iterator[str]:
    """Each key with its default."""
    for setting in _settings(subject.bare()):
        default = "is not set" if setting["value"] is None else f"= {setting['value']}"
        yield f"{setting['key']} {default}"


def variables(subject: Subject) -> Iterator[str]:
    """Each variable, and the key that it sets or its other effect."""
    text = subject.isobar.ok("config", "example").stdout
    examples = _flat(tomllib.loads(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)))
    settings = _settings(subject.bare())
    secret = subject.directory / "secret"
    secret.write_text("from a file")
    keys = [setting["key"] for setting in settings]
    legacy = _legacy_variables(text)
    for key in keys:
        own = f"ISOBAR__{key.replace('.', '__').upper()}"
        for name in [own, *legacy.get(key, [])]:
            value = _written(key, examples[key])
            for variable, given in [(name, value), (f"{name}_FILE", str(secret))]:
                if _sets(subject.bare(**{variable: given}), key, variable):
                    yield f"{variable} sets {key}"
    other = subject.directory / "other.toml"
    other.write_text('[kafka]\ntopic = "of a file"\n')
    [topic] = [s for s in _settings(subject.bare(ISOBAR_CONFIG=str(other))) if s["key"] == "kafka.topic"]
    if topic["value"] == "of a file":
        yield "ISOBAR_CONFIG names the configuration file"


def _sets(isobar: Isobar, key: str, variable: str) -> bool:
    """Whether the variable sets the key, even to a value that is refused."""
    outcome = isobar.run("config", "show", "--format", "json")
    if outcome.code:
        return f"variable {variable}: {key} " in outcome.stderr
    settings = {line["key"]: line["origin"] for line in map(json.loads, outcome.stdout.splitlines())}
    return settings[key] == f"variable {variable}"


def _written(key: str, value) -> str:
    """The value as text of a variable."""
    if isinstance(value, list):
        return (";" if key == "openweather.cities" else ",").join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(isobar: Isobar) -> list[dict]:
    return [json.loads(line) for line in isobar.ok("config", "show", "--format", "json").stdout.splitlines()]


def _flat(sections: dict) -> dict:
    return {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}


def _legacy_variables(example: str) -> dict[str, list[str]]:
    """Legacy variables by key. The example has them in brackets at the end of the comment above the key."""
    found, section, names = {}, "", []
    for line in example.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section, names = heading[1], []
        elif setting := re.match(r"#(\w+) = ", line):
            found[f"{section}.{setting[1]}"] = names
            names = []
        else:
            names = names + re.findall(r"\[([A-Z_]+)\]$", line)
    return found


# Commands by their case.
EXITS = {
    "no command": [],
    "help": ["--help"],
    "version": ["--version"],
    "an unknown command": ["nonsense"],
    "an unknown flag": ["sql", "--nonsense"],
    "flags that exclude each other": ["run", DAILY, "--all", "--dt", "2026-01-15"],
    "a path is missing": ["land", "--from", "files"],
    "a flag of another source": ["land", "--from", "postgres", "--once", "--accept-loss"],
    "an unknown key": ["--set", "lake.nonsense=1", "config", "show"],
    "a wrong value": ["--set", "land.rows_max=none", "config", "show"],
    "a statement": ["sql", "-c", "SELECT 1"],
    "a statement that cannot be parsed": ["sql", "-c", "SELEC 1"],
    "a statement over an unknown table": ["sql", "-c", "SELECT * FROM nowhere"],
    "a statement that would write": ["sql", "-c", "DROP TABLE weather"],
    "a statement that fails while it runs": ["sql", "-c", "SELECT CAST('x' AS INT)"],
    "a landing of nothing new": ["land", "--from", "files", "{export}", "--once"],
    "a landing of no directory": ["land", "--from", "files", "{export}/none", "--once"],
    "a run of an output that is up to date": ["run", DAILY, "--all"],
    "a run of no query": ["run", "weather/nothing"],
    "sound query files": ["query", "check"],
    "no such query to check": ["query", "check", "weather/nothing"],
    "no such table": ["table", "describe", "nothing"],
    "a sweep": ["table", "sweep"],
    "dead letters": ["dead-letters", "list"],
    "no such dead letter": ["dead-letters", "show", "weather-api/0/999999"],
    "a replay that changes nothing": ["dead-letters", "replay"],
    "a check of servers that are away": ["--set", "hdfs.url=http://127.0.0.1:1", "check"],
    "a production without a server": ["--set", "openweather.base_url=http://127.0.0.1:1", "produce", "--once"],
    "an export without a server": ["--set", "postgres.port=1", "export", "--once"],
}


def exit_codes(subject: Subject) -> Iterator[str]:
    """The exit code of each case."""
    isobar = subject.isobar.having(ISOBAR__PRODUCE__SPOOL_PATH=str(subject.directory / "spool"))
    for what, arguments in EXITS.items():
        given = [argument.format(export=subject.lake.place.export_url) for argument in arguments]
        yield f"{what}: {isobar.run(*given).code}"
    for options, number in [([], signal.SIGTERM), ([], signal.SIGINT)]:
        with Service(isobar, "land", "--from", "files", subject.lake.place.export_url, *options) as service:
            service.process.send_signal(number)
            yield f"a service after {number.name}: {service.ended()}"
    statement = "SELECT count(*) FROM generate_series(1, 1000000000000) AS t (n) WHERE n % 7 = 8"
    with isobar.start("sql", "-c", statement) as endless:
        eventually(lambda: _catches(endless.pid, signal.SIGINT), "it listens to signals")
        endless.send_signal(signal.SIGINT)
        yield f"a statement after SIGINT: {endless.wait(timeout=60)}"


def _catches(process: int, number: signal.Signals) -> bool:
    [caught] = re.findall(r"SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{process}/status").read_text())
    return bool(int(caught, 16) >> (number - 1) & 1)


# One value of each type that a result can have.
VALUES = [
    "1", "CAST(1 AS BIGINT)", "1.50", "CAST(1.5 AS DOUBLE)", "CAST(1 AS DOUBLE)", "CAST(1e300 AS DOUBLE)",
    "true", "NULL", "'é \" \\'", "DATE '2026-01-15'", "TIMESTAMP '2026-01-15 12:00:00'",
    "TIMESTAMP '2026-01-15 12:00:00.123456'",
    "CAST('2026-01-15T12:00:00Z' AS TIMESTAMP WITH TIME ZONE)", "INTERVAL '1 day'", "make_array(1, 2)",
    "named_struct('a', 1, 'b', 'x')", "arrow_cast('a', 'Binary')", "CAST('NaN' AS DOUBLE)", "CAST('inf' AS DOUBLE)",
    "TIME '12:00:00'",
]  # fmt: skip
LISTINGS = {
    "table list": ["table", "list"],
    "table describe": ["table", "describe", "weather"],
    "query list": ["query", "list"],
    "dead-letters list": ["dead-letters", "list"],
    "dead-letters list --summary": ["dead-letters", "list", "--summary"],
    "config show": ["config", "show"],
}


def json_output(subject: Subject) -> Iterator[str]:
    """What commands print as JSON and CSV, and the lines of logs."""
    isobar = subject.isobar
    for name, arguments in LISTINGS.items():
        lines = isobar.ok(*arguments, "--format", "json").stdout.splitlines()
        yield f"{name}: {_shape([json.loads(line) for line in lines])}"
    for value in VALUES:
        for format_ in ["json", "csv"]:
            outcome = isobar.run("sql", "--format", format_, "-c", f"SELECT {value} AS x")
            said = json.dumps(outcome.stdout, ensure_ascii=False) if outcome.code == 0 else "is refused"
            yield f"sql --format {format_}, {value}: {said}"
    outcome = isobar.ok("sql", "--format", "json", "-c", "SELECT * FROM weather LIMIT 2")
    yield f"sql --format json, rows: {len(outcome.stdout.splitlines())} lines for 2"
    with Service(isobar, "land", "--from", "files", subject.lake.place.export_url) as service:
        logged = [json.loads(line) for line in service.log]
    [listening] = [line for line in logged if line["message"] == "listening"]
    yield f"log line: {_shape([listening])}"


def _shape(rows: list[dict]) -> str:
    """The keys in order, with the types of their values."""
    types: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row.items():
            types.setdefault(key, set()).add(_type(value))
    return ", ".join(f"{key} {'|'.join(sorted(found))}" for key, found in types.items())


def _type(value) -> str:
    scalars = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return (scalars | {list: "array", dict: "object"})[type(value)]


def columns(subject: Subject) -> Iterator[str]:
    """The columns of every table, in their order, and the keys of aggregates.jsonl."""
    isobar = subject.isobar
    for table in [*LANDED, DAILY_TABLE]:
        described = isobar.ok("table", "describe", table).stdout
        [partitioned] = re.findall(r"^partitioned by +(.*)$", described, re.MULTILINE)
        yield f"{table} is partitioned by {partitioned or 'nothing'}"
        lines = isobar.ok("table", "describe", table, "--format", "csv").stdout.splitlines()[1:]
        yield from (f"{table} {number:02d} {line.replace(',', ' ')}" for number, line in enumerate(lines, 1))
    of_system = """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'system' ORDER BY table_name, ordinal_position"""
    for number, row in enumerate(isobar.query(of_system), 1):
        yield f"system.{row['table_name']} {number:02d} {row['column_name']} {row['data_type']}"
    yield from (f"aggregates.jsonl {number:02d} {key}" for number, key in enumerate(subject.lake.aggregates(DAY)[0], 1))


def persisted(subject: Subject) -> Iterator[str]:
    """The names under which the lake persists state for a later start."""
    place = subject.lake.place
    for table in [*LANDED, DAILY_TABLE]:
        yield from _of_log(place, table)
        for file in sorted({_pattern(stored.path) for stored in place.walk(f"lake/{table}")}):
            yield f"{table} file {file}"
        path = min(delta.live_files(place, table))
        metadata = pyarrow.parquet.ParquetFile(place.root / path).metadata.metadata or {}
        yield f"{table} Parquet metadata: {', '.join(sorted(key.decode() for key in metadata)) or 'none'}"
    for file in sorted({_pattern(stored.path) for stored in place.walk("weather")}):
        yield f"export directory file {file}"


def _of_log(place: LocalPlace, table: str) -> Iterator[str]:
    actions = delta.all_actions(place, table)
    for transaction in sorted({_pattern(action["txn"]["appId"]) for action in actions if "txn" in action}):
        yield f"{table} transaction {transaction}"
    [metadata] = [action["metaData"] for action in actions if "metaData" in action]
    yield f"{table} properties: {json.dumps(metadata['configuration'], sort_keys=True)}"
    [protocol] = [action["protocol"] for action in actions if "protocol" in action]
    yield f"{table} protocol: {json.dumps(protocol, sort_keys=True)}"
    for keys in sorted({", ".join(sorted(action["commitInfo"])) for action in actions if "commitInfo" in action}):
        yield f"{table} commit: {keys}"
    for keys in sorted({", ".join(sorted(action["add"])) for action in actions if "add" in action}):
        yield f"{table} data file in the log: {keys}"


def _pattern(name: str) -> str:
    """The name without the parts that differ each time."""
    name = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", name)
    name = re.sub(r"[0-9a-f]{32}", "HEX32", name)
    name = re.sub(r"\d{4}-\d\d-\d\d", "DATE", name)
    name = re.sub(r"(?<=weather_)[0-9T]+", "TIME", name)
    return re.sub(r"\d{20}", "VERSION", name)


def http(subject: Subject) -> Iterator[str]:
    """The HTTP responses of each service that needs no server."""
    with Service(subject.isobar, "land", "--from", "files", subject.lake.place.export_url) as service:
        service.wait_until_ready()
        yield from _pages("land", service)
    with Server(subject.isobar) as server:
        yield from _pages("serve", server)


ASKED = ["GET /healthz", "GET /readyz", "GET /metrics", "GET /", "POST /healthz"]


def _pages(name: str, web: Web) -> Iterator[str]:
    for method, path in map(str.split, ASKED):
        request = urllib.request.Request(f"http://{web.http}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, kind = answer.status, answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            status, kind = error.code, error.headers["Content-Type"]
        yield f"{name} {method} {path}: {status}, {kind}"


def metrics(subject: Subject) -> Iterator[str]:
    """The metrics of each service that needs no server, with types and labels."""
    target = subject.directory / "landed-again"
    isobar = subject.isobar.having(ISOBAR__LAKE__URL=f"file://{target}")
    with Service(isobar, "land", "--from", "files", subject.lake.place.export_url) as service:
        eventually(lambda: has_landed(service), "it has landed")
        yield from _metrics("land from files", service)
    with Server(subject.isobar) as server:
        server.rows("SELECT 1")
        yield from _metrics("serve", server)


def has_landed(web: Web) -> bool:
    return all(web.metric(f'isobar_landed_rows_total{{table="{table}"}}') > 0 for table in LANDED)


def _metrics(service: str, web: Web) -> set[str]:
    """The metrics, once no new one has appeared for a second: some appear with their first event."""
    facts, since = set(), time.monotonic()
    while time.monotonic() - since < 1:
        if found := _metrics_of(service, web.get("/metrics")[1]) - facts:
            facts, since = facts | found, time.monotonic()
        time.sleep(0.1)
    return facts


def _metrics_of(service: str, text: str) -> set[str]:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    facts = {f"{service} | {name} {type_}" for name, type_ in types.items()}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)
        shown = ",".join(label if label in NAMES else f'{label}="{value}"' for label, value in pairs if label != "le")
        facts.add(f"{service} | {name}" + (f"{{{shown}}}" if shown else ""))
    return facts


def services(subject: Subject, kafka: dict[str, str], postgres: dict[str, str]) -> Iterator[str]:
    """Metrics and pages of the services that need Kafka or PostgreSQL, and what these keep there."""
    topic, database = Topic(kafka), Database(postgres)
    records = weather([DAY], CITIES[:1], forecasts=1)[:20]
    topic.produce(records[:10])
    isobar = subject.isobar.having(
        BOOTSTRAP_SERVERS=topic.servers,
        TOPIC_NAME=topic.name,
        ISOBAR__CONSUME__HTTP_LISTEN="127.0.0.1:0",
        ISOBAR__EXPORT__HTTP_LISTEN="127.0.0.1:0",
        ISOBAR__LAND__INTERVAL="200ms",
        ISOBAR__EXPORT__BASE_PATH=f"file://{subject.directory}/exported",
        **database.variables,
    )
    isobar.ok("consume", "--once")  # the next one has positions when it starts
    topic.produce(records[10:], kinds=["cut short", "no weather"])
    with Service(isobar, "consume") as service:
        eventually(lambda: database.count() == len(records) + 1, "everything is consumed")
        service.wait_until_ready()
        yield from _facts("consume", service)
    with Service(isobar, "export") as service:
        eventually(lambda: service.metric("isobar_export_rows_total") == len(records) + 1, "everything is exported")
        service.wait_until_ready()
        yield from _facts("export", service)
    for source in ["kafka", "postgres"]:
        lake = isobar.having(ISOBAR__LAKE__URL=f"file://{subject.directory}/landed-from-{source}")
        with Service(lake, "land", "--from", source) as service:
            eventually(lambda: has_landed(service), "it has landed")  # noqa: B023
            service.wait_until_ready()
            yield from _facts(f"land from {source}", service)
        shutil.move(subject.directory / f"landed-from-{source}", subject.directory / f"of-{source}" / "lake")
        facts = _of_log(LocalPlace(subject.directory / f"of-{source}"), "weather")
        facts = (fact.replace(topic.name, "TOPIC") for fact in facts if " transaction " in fact)
        yield from (re.sub(r"/\d{10,}/", "/TABLES/", fact) for fact in facts)
    yield from _tables(database)
    yield from _produced(isobar, kafka)


def _facts(name: str, web: Web) -> Iterator[str]:
    yield from _metrics(name, web)
    yield from _pages(name, web)


def _produced(isobar: Isobar, kafka: dict[str, str]) -> Iterator[str]:
    topic = produced.ProducedTopic(kafka)
    with OpenWeather(CITIES[:1]) as api:
        spool = isobar.directory / "spool"
        isobar = isobar.having(**produced.variables(api, topic.servers, topic.name, spool))
        with Service(isobar, "produce") as service:
            eventually(lambda: service.metric("isobar_produced_messages_total") > 0, "it has produced")
            service.wait_until_ready()
            yield from _facts("produce", service)


def _tables(database: Database) -> Iterator[str]:
    """The columns of the tables in PostgreSQL after `consume` and `export`."""
    of_tables = """
        SELECT table_schema || '.' || table_name || ' ' || column_name || ' ' || data_type
            || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
        FROM information_schema.columns WHERE table_schema IN ('public', 'isobar')"""
    yield from (f"PostgreSQL {line}" for (line,) in database.rows(of_tables))
    [newest] = database.rows("SELECT max(version) FROM isobar.schema_version")
    yield f"PostgreSQL schema version {newest[0]}"


ALONE = {
    function.__name__: function
    for function in [commands, configuration, variables, exit_codes, json_output, columns, persisted, http, metrics]
}
WITH_SERVERS = {"services": services}


def write(directory: Path, name: str, facts: Iterable[str]) -> None:
    """One fact a line, sorted."""
    (directory / f"{name}.txt").write_text("".join(f"{fact}\n" for fact in sorted(set(facts))))


def differences(expected: set[str], found: set[str]) -> set[str]:
    """The differences as lines: `+ fact` for a new one, `- fact` for a removed one."""
    return {f"+ {fact}" for fact in found - expected} | {f"- {fact}" for fact in expected - found}
