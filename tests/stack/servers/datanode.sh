# HDFS DataNode: the blocks.
# shellcheck shell=bash disable=SC2034
dist=hadoop
listens=(DATANODE_DATA DATANODE_HTTP DATANODE_IPC)

run() { exec_java hadoop -Xmx256m org.apache.hadoop.hdfs.server.datanode.DataNode; }

# A registered DataNode is not usable: before the block report the NameNode finds no block here. Both servers are asked for the
# reports since their own start, because either may have been restarted alone; and the NameNode counts a killed DataNode as live
# for minutes. Only a write shows that writes are accepted, which safe mode refuses.
ready() {
    bean DATANODE_HTTP DataNode "DataNodeActivity-localhost-$(port DATANODE_DATA)" | grep -q '"BlockReportsNumOps" : [1-9]' &&
        bean NAMENODE_HTTP NameNode NameNodeActivity | grep -q '"StorageBlockReportNumOps" : [1-9]' &&
        on namenode webhdfs /ready 'CREATE&overwrite=true' \
            --location --request PUT --header 'Content-Type: application/octet-stream' --data ready
}

# bean PORT SERVICE NAME: a JMX bean as JSON.
bean() { get "http://localhost:$(port "$1")/jmx?qry=Hadoop:service=$2,name=$3"; }
