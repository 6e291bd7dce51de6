#!/bin/bash
# hadoop-java.sh CLASS ARGS...: run a class of Hadoop 2.7.3 (the jars of PyPI's pyspark 2.4.8) on Java 17.
home=$(dirname "$(readlink -f "$0")")
export HADOOP_CONF_DIR=$home/conf
opened=()
for package in java.base/java.lang java.base/java.nio java.base/sun.nio.ch java.security.jgss/sun.security.krb5; do
  opened+=("--add-opens=$package=ALL-UNNAMED")
done
exec java "-Xmx${HADOOP_HEAP:-256m}" -Djava.net.preferIPv4Stack=true "-Dhadoop.home.dir=$home" "${opened[@]}" \
  --add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED -cp "$home/conf:$home:$home/jars/*" "$@"
