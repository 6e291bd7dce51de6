#!/bin/bash
# build.sh DIR: a real HDFS 2.7.3 and libhdfs.so for pyarrow, in 20 seconds, from PyPI's pyspark 2.4.8 (220 MB, which
# has the servers in its jars), PyPI's pydoop 2.0.0 (the source of libhdfs) and six Debian packages. Needs a JDK, gcc
# and apt-get.
set -euo pipefail
source=$(dirname "$(readlink -f "$0")")
home=$(readlink -m "$1")
work=$home/.build
mkdir -p "$work" "$home/jars"
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "setuptools<71" wheel "pypandoc<1.8" # what the two old setup.py files need
fetch() { venv/bin/python -m pip download -q --no-deps --no-build-isolation --no-binary :all: -d . "$1"; }

fetch pyspark==2.4.8
tar xzf pyspark-2.4.8.tar.gz --wildcards 'pyspark-2.4.8/deps/jars/*'
for name in hadoop-{annotations,auth,common,hdfs}-2.7.3 commons-{beanutils,cli,codec,collections,compress} \
  commons-{configuration,digester,httpclient,io,lang-,logging,math3,net} guava-14 protobuf-java-2.5.0 htrace-core \
  jetty-6 jetty-util-6 javax.servlet-api jsp-api slf4j-api slf4j-log4j12 log4j-1.2 netty-3 netty-all xmlenc \
  xercesImpl leveldbjni apacheds api- curator- zookeeper- xz avro-1 paranamer snappy-java gson jsr305 httpclient-4 \
  httpcore-4 jaxb-api activation-; do
  cp pyspark-2.4.8/deps/jars/$name*.jar "$home/jars/"
done
cp pyspark-2.4.8/deps/jars/jackson-*asl*.jar "$home/jars/"
rm -f "$home"/jars/commons-lang3*.jar

# the web server of the NameNode wants jersey 1
apt-get download -q libjersey1-{core,server,servlet,json}-java libjsr311-api-java libcommons-daemon-java > /dev/null
for package in *.deb; do dpkg -x "$package" deb; done
find deb/usr/share/maven-repo -name '*.jar' ! -name '*-debian.jar' -exec cp -L {} "$home/jars/" \;

java_home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
fetch pydoop==2.0.0
tar xzf pydoop-2.0.0.tar.gz
c=pydoop-2.0.0/src/libhdfs
gcc -O2 -fPIC -shared -w -DHAVE_BETTER_TLS -I$c -I$c/include -I$c/os/posix \
  "-I$java_home/include" "-I$java_home/include/linux" $c/*.c $c/common/*.c $c/os/posix/*.c \
  -o libhdfs.so "-L$java_home/lib/server" -ljvm -lpthread "-Wl,-rpath,$java_home/lib/server"

mkdir -p "$home"/webapps/{hdfs,datanode}/WEB-INF
for web in hdfs datanode; do echo '<web-app/>' > "$home/webapps/$web/WEB-INF/web.xml"; done
cp -r "$source/conf" "$source/hadoop-java.sh" "$source/minihdfs.sh" "$home/"
sed -i "s|@HOME@|$home|g" "$home"/conf/*.xml
mv libhdfs.so "$home/" # last: with it the folder is whole
rm -rf "$work"
