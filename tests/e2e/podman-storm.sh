# shellcheck shell=bash
# Runs in a guest after podman-image.sh: HAProxy without a master is a unit made by
# podman's Quadlet, an init is process 1 of its container, and reloads by -sf are a storm.

rm /etc/systemd/system-generators/podman-system-generator # a link to /dev/null
mkdir -p /etc/containers/systemd
cat >/etc/containers/systemd/lb.container <<'END'
[Container]
Image=localhost/haproxy:3.0
ContainerName=lb
Network=host
RunInit=yes
Volume=/etc/haproxy:/etc/haproxy:ro
Volume=/srv/lb:/srv/lb:ro
Exec=/srv/lb/start
[Service]
ExecReload=podman exec lb /srv/lb/reload
TimeoutStartSec=5min
END
mkdir -p /srv/lb
cat >/srv/lb/start <<'END'
#!/bin/sh
haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid && exec sleep infinity
END
# HAProxy waits for its listeners (-x) for 1 s only, which an emulated machine can miss.
cat >/srv/lb/reload <<'END'
#!/bin/sh
replace() {
	haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid \
		-x /run/haproxy/admin.sock -sf $(pidof haproxy)
}
haproxy -c -q -f /etc/haproxy/haproxy.cfg && { replace || replace; }
END
chmod +x /srv/lb/start /srv/lb/reload
systemctl daemon-reload

systemctl start hapressure
./storm --unit lb.service --no-master --kind cache --out /out/storm.json
hapressure workers
journalctl --output=cat --unit=lb.service | tail -n 60 # says why a reload has failed
systemctl stop hapressure lb
