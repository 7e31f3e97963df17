# HBase: master, region server and ZooKeeper in one process; its data on HDFS.
# shellcheck shell=bash disable=SC2034
dist=hbase
listens=(HBASE_MASTER HBASE_MASTER_HTTP HBASE_REGION HBASE_REGION_HTTP ZOOKEEPER)
needs=(namenode datanode)

# On SIGTERM it stops its ZooKeeper first and then waits for it. Its log on HDFS survives a kill.
ends_by=KILL

# Its tables are on HDFS: they are deleted when the directory here was wiped, and its markers when HDFS was. The state of its
# ZooKeeper is rebuilt from HDFS at each start, so that a start never waits for the sessions of a killed process.
prepare() {
    [ -d "$stack/data/hbase" ] || on namenode webhdfs /hbase 'DELETE&recursive=true' --request DELETE
    on namenode webhdfs /hbase GETFILESTATUS || rm -rf "$stack/data/hbase"
    rm -rf "$stack/data/hbase/zookeeper"
    mkdir -p "$stack/data/hbase"
    on namenode give /hbase hbase
}

run() { hbase -Xmx384m org.apache.hadoop.hbase.master.HMaster start; }

ready() { grep -q 'Master has completed initialization' "$stack/logs/hbase.log"; }

# The namespace of the table of aggregates. Operators create it, since clients over Thrift cannot.
provision() {
    [ ! -f "$stack/data/hbase/provisioned" ] || return 0
    (hbase -Xmx128m -XX:TieredStopAtLevel=1 "$here/hbase/CreateNamespace.java" weather) >>"$stack/logs/hbase.log" 2>&1 &&
        touch "$stack/data/hbase/provisioned"
}

hbase() {
    export HADOOP_USER_NAME=hbase
    exec_java hbase "$@"
}
