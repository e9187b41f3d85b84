# shellcheck shell=bash
# Runs in a guest after podman-image.sh: three ways of running HAProxy and hapressure in
# containers.

# The image of hapressure, as docs/containers.md builds it.
mkdir -p bin && cp hapressure bin/
podman build --quiet --network=none -f Containerfile -t localhost/hapressure:latest .

# local_images makes a manifest use the images above and podman's cgroups.
local_images() {
	sed -E 's|^( *)image: (.*)|\1image: localhost/\2\n\1imagePullPolicy: Never|
		s|kubepods.slice/\*/kubepods-\*.slice/\*.scope|machine.slice/*/libpod-*.scope|
		s|kubepods.slice/kubepods-pod\*.slice/\*.scope|machine.slice/libpod-*.scope|' "$1"
}

# The unit of the storm. The socket of HAProxy's master is in the container's root.
mkdir -p /srv/lb
cat >/srv/lb/started <<'END'
#!/bin/sh
socket=$(cat /srv/lb/socket)
until pid=$(pgrep -o -x haproxy) && [ -S "/proc/$pid/root$socket" ]; do sleep 0.2; done
ln -sfn "/proc/$pid/root$socket" /run/haproxy-master.sock
END
cat >/etc/systemd/system/lb.service <<'END'
[Service]
ExecStart=/srv/lb/start
ExecStartPost=/srv/lb/started
ExecReload=/srv/lb/reload
TimeoutStartSec=5min
END
chmod +x /srv/lb/started
systemctl daemon-reload

# lb SOCKET START RELOAD: how the unit runs HAProxy from here on.
lb() {
	echo "$1" >/srv/lb/socket
	printf '#!/bin/sh\n%s\n' "$2" >/srv/lb/start
	printf '#!/bin/sh\nexec %s\n' "$3" >/srv/lb/reload
	chmod +x /srv/lb/start /srv/lb/reload
}

# confined CONTAINER: prints what the container's first process may do.
confined() {
	local pid
	pid=$(podman inspect --format '{{.State.Pid}}' "$1")
	grep -E '^(CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status"
	awk '$5 == "/" { print "root is " substr($6, 1, 2) }' "/proc/$pid/mountinfo"
}

echo "== as docker-library's image runs, guarded from the host"
run='podman run --network=host --memory=1200m --volume=/etc/haproxy:/etc/haproxy:ro'
lb /run/haproxy-master.sock \
	"exec $run --rm --name lb localhost/haproxy:3.0 \
	haproxy -W -db -S /run/haproxy-master.sock -f /etc/haproxy/haproxy.cfg" \
	'podman kill --signal=USR2 lb'
systemctl start hapressure
./storm --unit lb.service --limit '' --kind cache --out /out/host.json \
	--before 'cat /sys/fs/cgroup/machine.slice/libpod-*.scope/memory.events >/out/host.events'
confined lb
hapressure workers
systemctl stop hapressure lb

echo "== sidecar.yaml"
local_images sidecar.yaml >/srv/sidecar.yaml
sed -i 's|/usr/local/etc/haproxy|/etc/haproxy|
	s|configMap: {name: haproxy}|hostPath: {path: /etc/haproxy, type: Directory}|' /srv/sidecar.yaml
lb /tmp/master.sock \
	'podman kube play --network=host /srv/sidecar.yaml && exec podman wait haproxy-haproxy' \
	'podman kill --signal=USR2 haproxy-haproxy'
./storm --unit lb.service --limit '' --kind cache --reloads 2 --tunnels 5 \
	--interval 5s --settle 20s --out /out/sidecar.json
confined haproxy-hapressure
podman exec haproxy-hapressure /usr/bin/hapressure status
podman logs haproxy-hapressure >/out/sidecar.log 2>&1
podman kube down /srv/sidecar.yaml
systemctl stop lb

echo "== daemonset.yaml, and reloads by -sf without a master"
tunnels_config >/etc/haproxy/haproxy.cfg
socat TCP-LISTEN:9000,fork,reuseaddr EXEC:cat &
echo=$!
haproxy='haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid'
$run --detach --name ingress localhost/haproxy:3.0 sh -c "$haproxy; while :; do sleep 1; done"
local_images daemonset.yaml >/srv/daemonset.yaml
(cd / && podman kube play --network=host /srv/daemonset.yaml) # not beside a file "hapressure"
guard=hapressure-pod-hapressure
confined "$guard"
python3 tunnels.py "podman logs $guard" \
	"podman exec ingress sh -c '$haproxy -sf \$(cat /run/haproxy.pid)'" \
	"podman exec ingress sh -c '$haproxy -x /run/haproxy/admin.sock -sf \$(cat /run/haproxy.pid)'"
podman exec "$guard" /usr/bin/hapressure status
podman logs "$guard" >/out/daemonset.log 2>&1
# What is left when the script ends would be killed late, and the script fail by that.
podman kube down /srv/daemonset.yaml
podman rm --force --time 0 ingress
kill $echo
