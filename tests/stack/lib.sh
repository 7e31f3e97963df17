# Sourced by the commands beside it: places, ports, and the life of one server.
#
# A server is a file servers/NAME.sh that sets
#   dist        the directory here with its pom.xml and conf/              (none: a system package)
#   listens     its ports, by their names in the table below
#   needs       the servers that must be ready before it starts             (default: none)
#   ends_by     the signal that ends it                                     (default: TERM)
# and defines
#   prepare     before a start: the first time, lay out its data            (optional)
#   run         exec the server
#   ready       true once it serves
#   provision   after it is ready: what clients expect to find              (optional)
#   client      print the variables that a client needs, as NAME=value      (optional)
#   wipe        after its end, free resources outside its data              (optional)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${ISOBAR_CACHE:-$HOME/.cache/isobar}
stack=${ISOBAR_STACK_DIR:-$cache/stack/dev}
wait_s=${ISOBAR_STACK_WAIT_S:-120}

# In the order of their start; they stop in reverse.
servers=(namenode datanode kafka postgres hbase thrift)

# Each port has a variable ISOBAR_STACK_<NAME>_PORT. ISOBAR_STACK_PORT_BASE moves all of them at once, by these offsets.
while read -r name default offset; do
    variable=ISOBAR_STACK_${name}_PORT
    [ -n "${ISOBAR_STACK_PORT_BASE:-}" ] && default=$((ISOBAR_STACK_PORT_BASE + offset))
    export "$variable=${!variable:-$default}"
done <<'PORTS'
NAMENODE_RPC 8020 0
NAMENODE_HTTP 9870 1
DATANODE_DATA 9866 2
DATANODE_HTTP 9864 3
DATANODE_IPC 9867 4
KAFKA 9092 5
KAFKA_CONTROLLER 9093 6
HBASE_MASTER 16000 7
HBASE_MASTER_HTTP 16010 8
HBASE_REGION 16020 9
HBASE_REGION_HTTP 16030 10
ZOOKEEPER 2181 11
THRIFT 9095 12
POSTGRES 5433 13
KAFKA_TLS 9094 14
KAFKA_MUTUAL 9096 15
KAFKA_SASL 9097 16
KAFKA_SASL_PLAINTEXT 9098 17
PORTS

say() { echo "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# port NAME: the number behind a name of the table.
port() {
    local variable=ISOBAR_STACK_$1_PORT
    echo "${!variable}"
}

# chosen NAME...: these servers, or all of them, in the order of their start.
chosen() {
    local name
    for name in "$@"; do
        [[ " ${servers[*]} " == *" $name "* ]] || die "no server \"$name\" (there are: ${servers[*]})"
    done
    for name in "${servers[@]}"; do
        if [ $# = 0 ] || [[ " $* " == *" $name "* ]]; then echo "$name"; fi
    done
}

# with_needs NAME...: these servers and those that they need, whatever the order.
with_needs() {
    local name
    for name in "$@"; do
        echo "$name"
        # shellcheck disable=SC2046 # one word a server
        with_needs $(on "$name" needs)
    done
}

# load NAME: defines what a server's file defines. Only in a subshell, as the next server defines the same names.
load() {
    dist='' listens=() needs=() ends_by=TERM
    prepare() { :; }
    provision() { :; }
    client() { :; }
    wipe() { :; }
    # shellcheck source=/dev/null
    . "$here/servers/$1.sh"
}

# on NAME FUNCTION [ARGUMENT...]: calls a function of a server's file.
on() (
    load "$1"
    shift
    "$@"
)

# For `on`: the settings of a server's file.
dist() { echo "$dist"; }
listens() { echo "${listens[*]}"; }
needs() { echo "${needs[*]}"; }
ends_by() { echo "$ends_by"; }

# One command at a time changes a stack. Servers must not inherit the lock: `start` closes 9.
lock() {
    mkdir -p "$stack"/{data,logs,pids,tmp}
    exec 9>"$stack/lock"
    flock 9
}

# dist_home DIST: the directory of its jars. Its name has the digest of the pom, so that a changed pom gets another
# directory, and running servers keep theirs.
dist_home() { echo "$cache/stack/dist/$1-$(sha256sum <"$here/$1/pom.xml" | cut -c1-12)"; }

# exec_java DIST ARGUMENT...: becomes a JVM on the jars, the configuration and the jvm.args of DIST, in a session of its own.
exec_java() {
    local home java
    home=$(dist_home "$1")
    java=$("$here/../../scripts/java17") || die "no Java 17 found (scripts/setup stack installs it)"
    local flags=(-Xms32m -XX:+UseSerialGC -XX:MaxMetaspaceSize=160m -XX:-UsePerfData
        -Djava.net.preferIPv4Stack=true -Djava.io.tmpdir="$stack/tmp" -Dstack.dir="$stack")
    [ ! -f "$here/$1/jvm.args" ] || flags+=("@$here/$1/jvm.args")
    exec setsid "$java/bin/java" "${flags[@]}" -cp "$here/$1/conf:$home:$home/lib/*" "${@:2}"
}

# get URL [CURL ARGUMENT...]: the body of a local page; fails on every answer but success.
get() { curl --silent --fail --noproxy '*' --max-time 5 "$@"; }

# ask PORT COUNT BYTES: sends bytes, written as for printf, to a local port and prints that many of the answer in hexadecimal.
ask() {
    exec 7<>"/dev/tcp/127.0.0.1/$(port "$1")"
    # shellcheck disable=SC2059 # the bytes are a format on purpose
    printf "$3" >&7
    timeout 5 head -c "$2" <&7 | od -A n -t x1 -v | tr -d ' \n'
}

# A process is identified by pid and start time, so that a pid file from before a reboot never matches another process.
# process PID: its state letter and start time; fails when it has ended.
process() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086 # split into fields; the command name, which may hold blanks, is cut off
    set -- ${stat##*) }
    # A zombie has ended and only waits for its parent to notice, unless it still has threads: a killed JVM's first thread
    # is a zombie at once, and the others hold its ports until their end.
    [[ $1 != [ZX] ]] || [ "${18}" -gt 1 ] || return 1
    echo "$1 ${20}"
}

# state NAME: the state letter of a running server (T is stopped by a signal); fails when it does not run.
state() {
    local pid moment now_state now_moment
    { read -r pid moment <"$stack/pids/$1"; } 2>/dev/null || return 1
    read -r now_state now_moment < <(process "$pid") || return 1
    [ "$now_moment" = "$moment" ] && echo "$now_state"
}

alive() { state "$1" >/dev/null; }

pid() { cut -d' ' -f1 "$stack/pids/$1"; }

# family NAME: the pids of a server and of its children: PostgreSQL has one for each connection.
family() {
    pid "$1"
    cat "/proc/$(pid "$1")/task/"*/children 2>/dev/null || true
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# seconds MS: 4321 as 4.3.
seconds() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }
