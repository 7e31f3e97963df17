# HBase's Thrift server (version 1 of its interface), for clients without Java.
# shellcheck shell=bash disable=SC2034
dist=hbase
listens=(THRIFT)
needs=(hbase)

run() { exec_java hbase -Xmx128m org.apache.hadoop.hbase.thrift.ThriftServer start; }

# Call (1) of getRow for row "weather" of table "hbase:namespace". The answer is a reply (2) with a result (field 0) once
# tables can be read; before, and when HBase is unavailable, it has an error (field 1).
ready() {
    ask THRIFT 21 '\x80\1\0\1\0\0\0\6getRow\0\0\0\0\xb\0\1\0\0\0\xfhbase:namespace\xb\0\2\0\0\0\7weather\0' |
        grep -q '^80010002.*0f0000$'
}

client() {
    echo "HBASE_HOST=localhost"
    echo "HBASE_PORT=$(port THRIFT)"
}
