# PostgreSQL, from the system's packages: of several versions the latest.
# shellcheck shell=bash disable=SC2034
listens=(POSTGRES)
ends_by=INT # SIGTERM would wait until the last client has gone

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

# No socket file: the path of one must be shorter than that of many a cache. No fsync unless
# it is asked for: only a dying machine would need it, and a measurement of commits.
run() {
    unprivileged postgres -D "$stack/data/postgres/cluster" -p "$(port POSTGRES)" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c dynamic_shared_memory_type=mmap -c shared_buffers=64MB -c max_connections=50 \
        -c fsync="${POSTGRES_FSYNC:-off}"
}

# What a killed one leaves: a lock, which holds for as long as its parent has not noticed its end, and shared memory.
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

# unprivileged PROGRAM ARGUMENT...: becomes it in a session of its own, and not as root, which it refuses. The package's user may
# not be allowed into root's home, where the cache is, so that it gets the right to go everywhere.
owner=postgres
unprivileged() {
    local program become=()
    program=$(programs)/$1
    [ "$(id -u)" != 0 ] || become=(setpriv --reuid="$owner" --regid="$owner" --clear-groups
        --inh-caps=+dac_override --ambient-caps=+dac_override)
    exec setsid "${become[@]}" "$program" "${@:2}"
}
