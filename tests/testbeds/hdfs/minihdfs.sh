#!/bin/bash
# minihdfs.sh format|start|kill|stop: one NameNode and one DataNode of a real HDFS, on loopback only.
cd "$(dirname "$(readlink -f "$0")")" || exit 1
case $1 in
format)
  rm -rf data && mkdir data
  ./hadoop-java.sh org.apache.hadoop.hdfs.server.namenode.NameNode -format -force -nonInteractive > format.log 2>&1
  ;;
start)
  setsid ./hadoop-java.sh org.apache.hadoop.hdfs.server.namenode.NameNode > nn.log 2>&1 &
  echo $! > nn.pid
  setsid ./hadoop-java.sh org.apache.hadoop.hdfs.server.datanode.DataNode > dn.log 2>&1 &
  echo $! > dn.pid
  for _ in $(seq 120); do
    grep -q registerDatanode nn.log && exit 0
    sleep 0.5
  done
  exit 1
  ;;
kill) kill -9 "$(cat nn.pid)" "$(cat dn.pid)" ;;
stop) kill "$(cat nn.pid)" "$(cat dn.pid)" ;;
esac
