"""The servers themselves: what the other tests take for granted of them."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stack import sweep


def webhdfs(stack, method, path, operation, timeout_s=10, user="hdfs"):
    """One WebHDFS call without a body; its JSON, or the name of the exception that HDFS answers with."""
    url = f"{stack.http_url}/webhdfs/v1{path}?user.name={user}&op={operation}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)["RemoteException"]["exception"]


def create(stack, path, text, user="hdfs"):
    """Writes a small file: the NameNode redirects to a DataNode, which takes the body."""
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


def test_user_hdfs_owns_its_home_and_nothing_else(stack):
    assert webhdfs(stack, "PUT", "/user/hdfs/own", "MKDIRS") == {"boolean": True}
    assert webhdfs(stack, "PUT", "/elsewhere", "MKDIRS") == "AccessControlException"


@pytest.mark.parametrize("names", [["namenode"], ["datanode"], ["namenode", "datanode"]], ids="+".join)
def test_data_survive_a_kill(stack, names):
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


def test_a_stopped_kafka_is_silent_until_continued(stack, kafka):
    produce(kafka, "stopped", ["before"])
    stack.stop("kafka")
    with pytest.raises(KafkaException):
        consume(kafka, "stopped", 1, timeout_s=2)
    stack.restore()
    produce(kafka, "stopped", ["after"])
    assert consume(kafka, "stopped", 2) == ["before", "after"]


def test_a_topic_is_there_only_once_created(kafka):
    missing = AdminClient(client(kafka)).list_topics("never-created", timeout=10).topics["never-created"]
    assert missing.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_stopped_namenode_is_silent_until_continued(stack):
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


def test_restore_mends_everything_at_once(stack):
    stack.safemode(True)
    stack.stop("datanode")
    stack.kill("namenode")
    stack.restore()
    create(stack, "/user/hdfs/after-restore", "whole again")
    assert read(stack, "/user/hdfs/after-restore") == "whole again"


def test_sessions_do_not_meet_and_a_killed_one_is_swept_up(stack):
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

    sweep()
    assert not any(runs(pid) for pid in pids)
    assert "FileStatus" in webhdfs(stack, "GET", "/user/hdfs", "GETFILESTATUS")


def runs(pid):
    """Whether the process is there: one whose first thread is a zombie still is while it has others."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return fields[0] not in "ZX" or int(fields[17]) > 1
