# PostgreSQL, from the system's packages: of several versions the latest.
# shellcheck shell=bash disable=SC2034
listens=(POSTGRES)
ends_by=INT # SIGTERM would wait until the last client has disconnected

database=weather
user=postgres
password=postgres

prepare() {
    release
    [ ! -f "$stack/data/postgres/formatted" ] || return 0
    rm -rf "$stack/data/postgres" # a format that was interrupted
    mkdir -p "$stack/data/postgres/cluster"
    [ "$(id -u)" != 0 ] || chown "$owner" "$stack/data/postgres/cluster"
    (unprivileged initdb --pgdata="$stack/data/postgres/cluster" --username="$user" --pwfile=<(echo "$password") \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync) &&
        touch "$stack/data/postgres/formatted"
}

# No socket file: the path of one must be shorter than that of many a cache. No fsync by
# default: only a crash of the machine would need it, and a measurement of commits.
run() {
    unprivileged postgres -D "$stack/data/postgres/cluster" -p "$(port POSTGRES)" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c dynamic_shared_memory_type=mmap -c shared_buffers=64MB -c max_connections=50 \
        -c fsync="${POSTGRES_FSYNC:-off}"
}

# Leftovers of a killed server: a lock, which is held until its parent has reaped it, and shared memory.
release() {
    local lock="$stack/data/postgres/cluster/postmaster.pid"
    [ -f "$lock" ] || return 0
    ipcrm --shmem-id "$(awk 'NR == 7 { print $2 }' "$lock")" 2>/dev/null || true
    rm "$lock"
}

wipe() { release; }

ready() { sql postgres 'SELECT 1'; }

provision() {
    sql postgres "SELECT 'there' FROM pg_database WHERE datname = '$database'" | grep -q there ||
        sql postgres "CREATE DATABASE $database"
}

client() {
    echo "POSTGRES_HOST=localhost"
    echo "POSTGRES_PORT=$(port POSTGRES)"
    echo "POSTGRES_DB=$database"
    echo "POSTGRES_USER=$user"
    echo "POSTGRES_PASSWORD=$password"
}

# sql DATABASE STATEMENT
sql() {
    PGPASSWORD=$password PGCONNECT_TIMEOUT=5 "$(programs)/psql" --no-psqlrc --quiet --tuples-only --no-align \
        --host=127.0.0.1 --port="$(port POSTGRES)" --username="$user" --dbname="$1" --command="$2"
}

programs() {
    local initdb
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || initdb=$(command -v initdb) || die "no PostgreSQL found (scripts/setup stack installs it)"
    dirname "$initdb"
}

# unprivileged PROGRAM ARGUMENT...: execs it in a new session, and not as root, which it refuses. The user of the package may have no
# permission for the home of root, where the cache is, so it gets the capability to search every directory.
owner=postgres
unprivileged() {
    local program become=()
    program=$(programs)/$1
    [ "$(id -u)" != 0 ] || become=(setpriv --reuid="$owner" --regid="$owner" --clear-groups
        --inh-caps=+dac_override --ambient-caps=+dac_override)
    exec setsid "${become[@]}" "$program" "${@:2}"
}
