"""The servers: properties on which the other tests rely."""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request

import happybase
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from Hbase_thrift import IOError as HbaseError

from stack import clean_up_killed_sessions


def webhdfs(stack, method, path, operation, timeout_s=10, user="hdfs"):
    """One WebHDFS call without a body. Returns the JSON, or the name of the exception of HDFS."""
    url = f"{stack.http_url}/webhdfs/v1{path}?user.name={user}&op={operation}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)["RemoteException"]["exception"]


def create(stack, path, text, user="hdfs"):
    """Writes a small file: the NameNode redirects to a DataNode, which stores the body."""
    url = f"{stack.http_url}/webhdfs/v1{path}?user.name={user}&op=CREATE&noredirect=true"
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10) as answer:
        place = json.load(answer)["Location"]
    urllib.request.urlopen(urllib.request.Request(place, data=text.encode(), method="PUT"), timeout=10).close()


def read(stack, path):
    with urllib.request.urlopen(f"{stack.http_url}/webhdfs/v1{path}?op=OPEN", timeout=10) as answer:
        return answer.read().decode()


def client(kafka, **settings):
    """The configuration of a Kafka client."""
    return {"bootstrap.servers": kafka["BOOTSTRAP_SERVERS"], "log_level": 0} | settings


def produce(kafka, topic, texts):
    """Writes messages in this order, into a topic of one partition; returns once they are acknowledged."""
    admin = AdminClient(client(kafka))
    if topic not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(topic, 1)])[topic].result()
    producer = Producer(client(kafka))
    for text in texts:
        producer.produce(topic, text.encode())
    assert producer.flush(30) == 0


def consume(kafka, topic, count, timeout_s=30):
    """The first messages of a topic of one partition; fails when there are fewer."""
    consumer = Consumer(client(kafka, **{"group.id": "test", "enable.auto.commit": False}))
    try:
        consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=timeout_s)
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = consumer.consume(count, timeout=timeout_s)
    finally:
        consumer.close()
    return [message.value().decode() for message in messages]


def thrift(hbase, timeout_s=30):
    """A connection to HBase's Thrift server, for a `with` block."""
    return contextlib.closing(
        happybase.Connection(hbase["HBASE_HOST"], int(hbase["HBASE_PORT"]), timeout=timeout_s * 1000)
    )


def database(postgres, timeout_s=30):
    """A connection to PostgreSQL that commits each statement, for a `with` block."""
    return psycopg.connect(
        host=postgres["POSTGRES_HOST"],
        port=postgres["POSTGRES_PORT"],
        dbname=postgres["POSTGRES_DB"],
        user=postgres["POSTGRES_USER"],
        password=postgres["POSTGRES_PASSWORD"],
        connect_timeout=timeout_s,
        autocommit=True,
    )


def test_user_hdfs_owns_its_home_and_nothing_else(stack):
    assert webhdfs(stack, "PUT", "/user/hdfs/own", "MKDIRS") == {"boolean": True}
    assert webhdfs(stack, "PUT", "/elsewhere", "MKDIRS") == "AccessControlException"


@pytest.mark.parametrize("names", [["namenode"], ["datanode"], ["namenode", "datanode"]], ids="+".join)
def test_files_on_hdfs_survive_a_kill(stack, names):
    path = f"/user/hdfs/survives-{'-'.join(names)}"
    create(stack, path, "still here")
    stack.kill(*names)
    stack.start(*names)
    assert read(stack, path) == "still here"


def test_messages_survive_a_kill(stack, kafka):
    produce(kafka, "survives", ["still", "here"])
    stack.kill("kafka")
    stack.start("kafka")
    produce(kafka, "survives", ["and", "taken"])
    assert consume(kafka, "survives", 4) == ["still", "here", "and", "taken"]


def test_stopped_kafka_is_silent_until_continued(stack, kafka):
    produce(kafka, "stopped", ["before"])
    stack.stop("kafka")
    with pytest.raises(KafkaException):
        consume(kafka, "stopped", 1, timeout_s=2)
    stack.restore()
    produce(kafka, "stopped", ["after"])
    assert consume(kafka, "stopped", 2) == ["before", "after"]


def test_topics_are_not_created_automatically(kafka):
    missing = AdminClient(client(kafka)).list_topics("never-created", timeout=10).topics["never-created"]
    assert missing.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize("names", [["hbase"], ["thrift"], ["namenode", "datanode", "hbase", "thrift"]], ids="+".join)
def test_rows_survive_a_kill(stack, hbase, names):
    name = f"weather:survives-{'-'.join(names)}"
    with thrift(hbase) as connection:
        connection.create_table(name, {"agg": {}})
        connection.table(name).put(b"2988507", {b"agg:temp": b"3.5"})
    stack.kill(*names)
    stack.start(*names)
    with thrift(hbase) as connection:
        connection.table(name).put(b"2996944", {b"agg:temp": b"4.5"})
        assert [row for row, _ in connection.table(name).scan()] == [b"2988507", b"2996944"]


@pytest.mark.parametrize("name", ["hbase", "thrift"])
def test_stopped_hbase_is_silent_until_continued(stack, hbase, name):
    stack.stop(name)
    with pytest.raises(TimeoutError), thrift(hbase, timeout_s=2) as connection:
        connection.tables()
    stack.cont(name)
    with thrift(hbase) as connection:
        connection.tables()


def test_hbase_has_the_namespace_of_the_aggregates_and_no_other(hbase):
    with thrift(hbase) as connection:
        connection.create_table("weather:may-be-created", {"agg": {}})
        with pytest.raises(HbaseError, match="NamespaceNotFoundException"):
            connection.create_table("elsewhere:may-not", {"agg": {}})


def test_records_survive_a_kill(stack, postgres):
    with database(postgres) as connection:
        connection.execute("CREATE TABLE survives (city TEXT)")
        connection.execute("INSERT INTO survives VALUES ('Paris')")
        stack.kill("postgres")  # with a client connected
    stack.start("postgres")
    with database(postgres) as connection:
        connection.execute("INSERT INTO survives VALUES ('Lyon')")
        assert connection.execute("SELECT city FROM survives ORDER BY city").fetchall() == [("Lyon",), ("Paris",)]


def test_stopped_postgres_is_silent_until_continued(stack, postgres):
    with contextlib.closing(database(postgres)) as connection:
        stack.stop("postgres")
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            database(postgres, timeout_s=2)
        connection.pgconn.send_query(b"SELECT 1")
        assert not answers(connection, within_s=1)
        stack.cont("postgres")
        assert answers(connection, within_s=30)


def answers(connection, within_s):
    """Whether the connection becomes readable in that time."""
    return bool(select.select([connection.fileno()], [], [], within_s)[0])


def test_stopped_namenode_is_silent_until_continued(stack):
    stack.stop("namenode")
    with pytest.raises(TimeoutError):
        webhdfs(stack, "GET", "/", "GETFILESTATUS", timeout_s=2)
    stack.cont("namenode")
    assert "FileStatus" in webhdfs(stack, "GET", "/", "GETFILESTATUS")


def test_safe_mode_refuses_writes(stack):
    stack.safemode(True)
    assert webhdfs(stack, "PUT", "/user/hdfs/refused", "MKDIRS") == "SafeModeException"
    stack.safemode(False)
    assert webhdfs(stack, "PUT", "/user/hdfs/accepted", "MKDIRS") == {"boolean": True}


def test_restore_continues_all_servers(stack):
    stack.safemode(True)
    stack.stop("datanode")
    stack.kill("namenode")
    stack.restore()
    create(stack, "/user/hdfs/after-restore", "whole again")
    assert read(stack, "/user/hdfs/after-restore") == "whole again"


def test_sessions_are_isolated_and_a_killed_one_is_cleaned_up(stack):
    script = textwrap.dedent("""
        import stack, sys
        with stack.session() as running:
            print(running.directory, running.rpc_url, flush=True)
            sys.stdin.read()
    """)
    line = [sys.executable, "-c", script]
    with subprocess.Popen(
        line, cwd=os.path.dirname(__file__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        directory, rpc_url = other.stdout.readline().split()
        pids = [int(file.read_text().split()[0]) for file in pathlib.Path(directory, "pids").iterdir()]
        other.kill()
    assert rpc_url != stack.rpc_url
    assert len(pids) == 2 and all(runs(pid) for pid in pids)

    clean_up_killed_sessions()
    assert not any(runs(pid) for pid in pids)
    assert "FileStatus" in webhdfs(stack, "GET", "/user/hdfs", "GETFILESTATUS")


def runs(pid):
    """Whether the process runs: it may have threads although its first one is a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return fields[0] not in "ZX" or int(fields[17]) > 1
