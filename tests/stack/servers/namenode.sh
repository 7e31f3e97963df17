# HDFS NameNode: names, permissions and block locations. RPC for clients; WebHDFS, /jmx, /prom and pages over HTTP.
# shellcheck shell=bash disable=SC2034
dist=hadoop
listens=(NAMENODE_RPC NAMENODE_HTTP)

# The user that runs the NameNode is the superuser. No client uses this name, so that permissions are tested.
superuser=superuser
home=/user/hdfs

prepare() {
    [ ! -f "$stack/data/namenode/formatted" ] || return 0
    mkdir -p "$stack/data/namenode"
    # -force: files without our marker are from an interrupted format.
    (hadoop -Xmx256m org.apache.hadoop.hdfs.server.namenode.NameNode -format -force -nonInteractive -clusterId isobar) &&
        touch "$stack/data/namenode/formatted"
}

run() { hadoop -Xmx256m org.apache.hadoop.hdfs.server.namenode.NameNode; }

ready() { webhdfs / GETFILESTATUS; }

provision() { give "$home" hdfs; }

client() {
    echo "ISOBAR__LAKE__URL=hdfs://localhost:$(port NAMENODE_RPC)$home/isobar"
    echo "HDFS_URL=http://localhost:$(port NAMENODE_HTTP)"
    echo "HDFS_USER=hdfs"
    echo "HADOOP_USER_NAME=hdfs"
}

safemode() { hadoop -Xmx128m org.apache.hadoop.hdfs.tools.DFSAdmin -safemode "$1"; }

hadoop() {
    export HADOOP_USER_NAME=$superuser
    exec_java hadoop "$@"
}

# give FOLDER USER: a directory of that user. Checks the owner and not the existence: an interrupted attempt may have left another
# owner.
give() {
    webhdfs "$1" GETFILESTATUS 2>/dev/null | grep -q "\"owner\":\"$2\"" ||
        { webhdfs "$1" MKDIRS -X PUT >/dev/null && webhdfs "$1" "SETOWNER&owner=$2&group=$2" -X PUT; }
}

# webhdfs PATH OPERATION [CURL ARGUMENT...]
webhdfs() { get "http://localhost:$(port NAMENODE_HTTP)/webhdfs/v1$1?user.name=$superuser&op=$2" "${@:3}"; }
