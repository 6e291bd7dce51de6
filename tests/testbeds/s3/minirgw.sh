#!/bin/bash
# A real S3 server: the RADOS gateway of Ceph (Debian: radosgw ceph-mon ceph-osd ceph-mgr ceph-common) on loopback,
# with one monitor and one object store in memory. CEPH_MINI=DIR minirgw.sh start|stop: http://127.0.0.1:8000, key
# "test", secret "testsecret". kill and again end and start the gateway; what is stored stays.
D=$(readlink -m "${CEPH_MINI:?set CEPH_MINI to a folder}"); C="$D/ceph.conf"
gateway() {
  radosgw -c $C -n client.rgw >/dev/null 2>&1
  for i in $(seq 80); do (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null && return; sleep .5; done
  return 1
}
case $1 in
start)
rm -rf $D; mkdir -p $D/mon $D/osd $D/rgw; cat > $C <<X
[global]
fsid = 6b1f6b0e-0a1c-4e0e-9c3b-2f1d1c0e7a11
mon initial members = a
mon host = [v2:127.0.0.1:3390,v1:127.0.0.1:6799]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon allow pool size one = true
mon warn on pool no redundancy = false
log file = $D/\$name.log
pid file = $D/\$name.pid
admin socket = $D/\$name.asok
run dir = $D
keyring = $D/keyring
[mon]
mon data = $D/mon
[osd]
osd data = $D/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:8000
rgw data = $D/rgw
rgw dns name = 127.0.0.1
ms mon client mode = crc secure
X
monmaptool --create --fsid 6b1f6b0e-0a1c-4e0e-9c3b-2f1d1c0e7a11 --addv a '[v2:127.0.0.1:3390,v1:127.0.0.1:6799]' $D/monmap >/dev/null
ceph-mon -c $C -i a --mkfs --monmap $D/monmap >/dev/null 2>&1
ceph-mon -c $C -i a >/dev/null 2>&1
ceph -c $C osd create >/dev/null
ceph-osd -c $C -i 0 --mkfs >/dev/null 2>&1
ceph-osd -c $C -i 0 >/dev/null 2>&1
for i in $(seq 40); do ceph -c $C osd stat 2>/dev/null | grep -q '1 up' && break; sleep .5; done
gateway
radosgw-admin -c $C -n client.rgw user create --uid test --display-name test --access-key test --secret-key testsecret >/dev/null 2>&1
ceph -c $C -s | head -20 ;;
kill) kill -9 $(cat $D/client.rgw.pid) ;;
again) gateway ;;
stop) kill $(cat $D/client.rgw.pid) $(cat $D/osd.0.pid) $(cat $D/mon.a.pid) 2>/dev/null ;;
esac
