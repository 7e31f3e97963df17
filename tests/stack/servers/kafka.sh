# Kafka: one broker that is its own controller (KRaft).
# shellcheck shell=bash disable=SC2034
dist=kafka
listens=(KAFKA KAFKA_CONTROLLER)

properties="$here/kafka/conf/server.properties"
cluster=aXNvYmFyLXN0YWNrLTAwMA # an identifier must be 16 bytes in base64

prepare() {
    [ ! -f "$stack/data/kafka/formatted" ] || return 0
    rm -rf "$stack/data/kafka" # a format that was interrupted
    mkdir -p "$stack/data/kafka"
    (cd "$stack" && exec_java kafka -Xmx128m kafka.tools.StorageTool format --cluster-id "$cluster" --config "$properties") &&
        touch "$stack/data/kafka/formatted"
}

run() { exec_java kafka -Xmx256m kafka.Kafka "$properties"; }

# Metadata request (key 3, version 1) for no topic. Its answer: length, correlation, then the number of brokers, which is
# 0 until the controller has let this one serve, and again when it was stopped for a while.
ready() { ask KAFKA 12 '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' | grep -q '0000000100000001$'; }

client() { echo "BOOTSTRAP_SERVERS=localhost:$(port KAFKA)"; }
