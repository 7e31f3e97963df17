"""The baseline of benches/consume.py, as in the legacy pipeline: one Python process that inserts a message as a row and
commits it before it takes the next.

    consume_baseline.py SERVERS TOPIC COUNT     prints the seconds from the first message to the commit of the last; the
                                                database is that of the variables PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD

It is as fast as its design allows: the message is inserted as received, the statement is prepared, and Kafka's client
prefetches.
"""

import sys
import time
import uuid
from datetime import datetime
from zoneinfo import ZoneInfo

import psycopg
from confluent_kafka import Consumer

PARIS = ZoneInfo("Europe/Paris")
TABLE = "CREATE TABLE weather (date_time TIMESTAMP, msg_offset BIGINT, partition INT, value JSONB)"
ROW = "INSERT INTO weather (date_time, msg_offset, partition, value) VALUES (%s, %s, %s, %s)"


def consume(consumer: Consumer, connection: psycopg.Connection, count: int) -> float:
    message = next_message(consumer)
    started = time.perf_counter()
    with connection.cursor() as cursor:
        for left in range(count, 0, -1):
            _, timestamp_ms = message.timestamp()
            local = datetime.fromtimestamp(timestamp_ms // 1000, PARIS).replace(tzinfo=None)
            row = (local, message.offset(), message.partition(), message.value().decode())
            cursor.execute(ROW, row, prepare=True)
            connection.commit()
            if left > 1:
                message = next_message(consumer)
    return time.perf_counter() - started


def next_message(consumer: Consumer):
    message = consumer.poll(30)
    assert message is not None and message.error() is None, "no message within 30 s"
    return message


def main() -> None:
    servers, topic, count = sys.argv[1:]
    group = {"group.id": f"baseline-{uuid.uuid4().hex[:8]}", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": servers, "log_level": 0} | group)
    consumer.subscribe([topic])
    with psycopg.connect() as connection:
        connection.execute(TABLE)
        connection.commit()
        seconds = consume(consumer, connection, int(count))
    consumer.close()
    print(f"{seconds:.3f}")


if __name__ == "__main__":
    main()
