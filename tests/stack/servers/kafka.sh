# Kafka: one broker that is its own controller (KRaft). Beside the ordinary listener there are others for its clients' security:
# TLS, TLS with a client's certificate, and SASL inside TLS and without.
# shellcheck shell=bash disable=SC2034
dist=kafka
listens=(KAFKA KAFKA_CONTROLLER KAFKA_TLS KAFKA_MUTUAL KAFKA_SASL KAFKA_SASL_PLAINTEXT)

properties="$here/kafka/conf/server.properties"
cluster=aXNvYmFyLXN0YWNrLTAwMA # an identifier must be 16 bytes in base64
tls="$stack/data/kafka/tls"

# Tests search all output for the passwords.
export ISOBAR_STACK_KAFKA_USER=weather ISOBAR_STACK_KAFKA_PASSWORD=canary-kafka-7c41aa
key_password=canary-kafka-key-2f80d3

prepare() {
    if [ ! -f "$stack/data/kafka/formatted" ]; then
        rm -rf "$stack/data/kafka" # a format that was interrupted
        mkdir -p "$stack/data/kafka"
        local user="name=$ISOBAR_STACK_KAFKA_USER,password=$ISOBAR_STACK_KAFKA_PASSWORD"
        (cd "$stack" && exec_java kafka -Xmx128m kafka.tools.StorageTool format --cluster-id "$cluster" --config "$properties" \
            --add-scram "SCRAM-SHA-256=[$user]" --add-scram "SCRAM-SHA-512=[$user]") || return
        touch "$stack/data/kafka/formatted"
    fi
    [ -d "$tls" ] || certificates
}

# An authority, the certificate of the server, and one of a client, whose key has a password.
certificates() {
    local signed=(-CA ca.crt -CAkey ca.key -addext basicConstraints=CA:FALSE)
    rm -rf "$tls.new" && mkdir "$tls.new" && (
        cd "$tls.new" &&
            certify ca -noenc -subj "/CN=authority of the stack" &&
            certify server -noenc "${signed[@]}" -subj /CN=localhost -addext subjectAltName=DNS:localhost &&
            cat server.key server.crt >server.pem &&
            certify client -passout "pass:$key_password" "${signed[@]}" -subj /CN=weather
    ) && mv "$tls.new" "$tls"
}

certify() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 3650 -keyout "$1.key" -out "$1.crt" "${@:2}"
}

run() { exec_java kafka -Xmx256m kafka.Kafka "$properties"; }

# Metadata request (key 3, version 1) for no topic. The response: length, correlation, then the number of brokers, which is
# 0 until the controller has let this one serve, and again when it was stopped for a while.
ready() { ask KAFKA 12 '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' | grep -q '0000000100000001$'; }

client() {
    echo "BOOTSTRAP_SERVERS=localhost:$(port KAFKA)"
    echo "KAFKA_TLS=localhost:$(port KAFKA_TLS)"
    echo "KAFKA_MUTUAL=localhost:$(port KAFKA_MUTUAL)"
    echo "KAFKA_SASL=localhost:$(port KAFKA_SASL)"
    echo "KAFKA_SASL_PLAINTEXT=localhost:$(port KAFKA_SASL_PLAINTEXT)"
    echo "KAFKA_USER=$ISOBAR_STACK_KAFKA_USER"
    echo "KAFKA_PASSWORD=$ISOBAR_STACK_KAFKA_PASSWORD"
    echo "KAFKA_CERTIFICATES=$tls"
    echo "KAFKA_KEY_PASSWORD=$key_password"
}
