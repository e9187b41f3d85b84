# shellcheck shell=bash
# Runs in a guest after podman-image.sh: a user runs HAProxy in containers of his own,
# without root. hapressure runs on the host.

# What guests do without at their boot: sessions of users, and devices that udev opens to
# them.
systemctl unmask --quiet systemd-logind.service
systemctl start systemd-logind.service
modprobe --all fuse tun
chmod 666 /dev/fuse /dev/net/tun
useradd --create-home lb
loginctl enable-linger lb
run=/run/user/$(id -u lb)
until [ -S "$run/bus" ]; do sleep 0.2; done

# podman_as NAME [OPTION...]: a command that is podman of that user, with options.
podman_as() {
	local name=$1
	shift
	cat >"/usr/local/bin/$name" <<END
#!/bin/sh
exec runuser -u lb -- env -C /home/lb HOME=/home/lb XDG_RUNTIME_DIR=$run \\
	DBUS_SESSION_BUS_ADDRESS=unix:path=$run/bus podman $* "\$@"
END
	chmod +x "/usr/local/bin/$name"
}
podman_as rootless
podman_as fuse --root /home/lb/fuse --storage-driver overlay \
	--storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs

mkdir -p /srv/lb
openssl req -quiet -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=storm \
	-keyout /srv/lb/key -out /srv/lb/storm.pem
cat /srv/lb/key >>/srv/lb/storm.pem
chown -R lb /srv/lb
socat TCP-LISTEN:9000,fork,reuseaddr EXEC:cat &
echo=$!
systemctl start hapressure
log='journalctl --output=cat --unit=hapressure'

echo "== a master, the host's network"
tunnels_config "user haproxy" >/srv/lb/haproxy.cfg
rootless import --quiet /srv/haproxy.tar localhost/haproxy:3.0
rootless run --detach --name lb --network=host --memory=1200m --volume=/srv/lb:/etc/haproxy:ro \
	localhost/haproxy:3.0 haproxy -W -db -f /etc/haproxy/haproxy.cfg
reload='rootless kill --signal=USR2 lb'
python3 tunnels.py "$log" "$reload" "$reload"
hapressure workers
hapressure doctor | tee /out/master.doctor || true
cat /proc/"$(pgrep -o -x haproxy)"/{uid_map,cgroup}
rootless rm --force --time 0 lb

echo "== without a master, fuse-overlayfs and a network of its own"
ECHO=10.0.2.2 tunnels_config "user haproxy" >/srv/lb/haproxy.cfg
start='haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid'
fuse import --quiet /srv/haproxy.tar localhost/haproxy:3.0
fuse run --detach --name ingress --network=slirp4netns:allow_host_loopback=true \
	--publish 8443:8443 --memory=1200m --volume=/srv/lb:/etc/haproxy:ro \
	localhost/haproxy:3.0 sh -c "$start; while :; do sleep 1; done"
reload="fuse exec ingress sh -c '$start -x /run/haproxy/admin.sock -sf \$(cat /run/haproxy.pid)'"
python3 tunnels.py "$log" "$reload" "$reload"
hapressure workers
hapressure doctor | tee /out/alone.doctor || true
fuse rm --force --time 0 ingress
kill $echo
