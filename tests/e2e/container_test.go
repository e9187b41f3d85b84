package e2e

import (
	"regexp"
	"strings"
	"testing"

	"hapressure/policy"
)

// contained makes HAProxy a unit that lives as a container does: first process of a pid
// namespace, with its own mounts (its master's socket is invisible from outside),
// cgroup namespace and so on. storm asks its master all the same, through /proc.
const contained = `
mkdir -p /srv/lb
cat > /srv/lb/start <<'END'
#!/bin/sh
exec unshare --pid --fork --kill-child --mount --mount-proc --cgroup --ipc --uts sh -c '
	mount -t tmpfs tmpfs /run && mkdir /run/haproxy && exec haproxy -W -db -S /run/haproxy-master.sock -f /etc/haproxy/haproxy.cfg'
END
cat > /srv/lb/started <<'END'
#!/bin/sh
until pid=$(pgrep -o -x haproxy) && [ -S "/proc/$pid/root/run/haproxy-master.sock" ]; do sleep 0.2; done
ln -sfn "/proc/$pid/root/run/haproxy-master.sock" /run/haproxy-master.sock
END
cat > /srv/lb/reload <<'END'
#!/bin/sh
kill -USR2 "$(pgrep -o -x haproxy)"
END
chmod +x /srv/lb/*
cat > /etc/systemd/system/lb.service <<'END'
[Service]
Slice=machine.slice
ExecStart=/srv/lb/start
ExecStartPost=/srv/lb/started
ExecReload=/srv/lb/reload
END
`

// asContainer is what the DaemonSet makes of the image, made by systemd: a root with
// nothing but the program, read-only, the host's processes and cgroups, and the
// capabilities. It is started again when it ends: a purge that holds a worker for too
// long ends it.
const asContainer = `
mkdir -p /srv/image/usr/bin /srv/image/etc/hapressure /srv/image/proc /srv/image/sys /srv/image/dev /srv/image/run /srv/run
install -m 755 hapressure /srv/image/usr/bin/hapressure
install -m 644 policy.yaml /srv/image/etc/hapressure/policy.yaml
cat > /etc/systemd/system/hapressure-image.service <<'END'
[Service]
RootDirectory=/srv/image
MountAPIVFS=yes
ReadOnlyPaths=/
BindPaths=/sys/fs/cgroup /srv/run:/run/hapressure
ExecStart=/usr/bin/hapressure run
StandardError=append:/out/hapressure.log
Environment=GOMEMLIMIT=64MiB GOGC=50 GOMAXPROCS=2 RUNTIME_DIRECTORY=/run/hapressure
CapabilityBoundingSet=CAPABILITIES
NoNewPrivileges=yes
MemoryMax=128M
Restart=always
RestartSec=1
END
systemctl daemon-reload
systemctl start hapressure-image
`

// HAProxy and hapressure each in a container: what stops is purged, and no tunnel is
// lost.
func TestContainers(t *testing.T) {
	manifest := read(t, "../../packaging/kubernetes/daemonset.yaml")
	capabilities := regexp.MustCompile(`add: \[(.*)\]`).FindStringSubmatch(manifest)[1]
	capabilities = "CAP_" + strings.ReplaceAll(capabilities, ", ", " CAP_")
	m := runStorm(t, `version: 1
targets:
  - cgroup: machine.slice/*
tiers:
  - name: purge
    enter: always
    actions: [purge-ssl-cache: {}]
`, contained+strings.ReplaceAll(asContainer, "CAPABILITIES", capabilities)+`
systemctl daemon-reload
./storm --unit lb.service --kind cache --reloads 2 --tunnels 5 --interval 5s --settle 15s --out /out/storm.json &
storm=$!
until grep -q "Guarding /machine.slice/lb.service" /out/hapressure.log; do kill -0 $storm; sleep 1; done
/srv/image/usr/bin/hapressure status --socket /srv/run/control.sock
wait $storm
/srv/image/usr/bin/hapressure status --socket /srv/run/control.sock
cat /out/hapressure.log
systemctl is-active hapressure-image
`)
	if m.storm.ReloadsFailed != 0 || m.storm.FreshFailed != 0 || m.storm.FreshOK == 0 {
		t.Errorf("%d reloads failed; %d fresh requests answered, %d failed: %q",
			m.storm.ReloadsFailed, m.storm.FreshOK, m.storm.FreshFailed, m.storm.FreshErrors)
	}
	if m.storm.TunnelsAlive != 10 {
		t.Errorf("%d of %d tunnels are alive", m.storm.TunnelsAlive, m.storm.TunnelsOpened)
	}
	log := read(t, m.Dir+"/hapressure.log")
	if n := len(regexp.MustCompile(policy.PurgeSSLCache+` on worker \d+ .*: freed 23\d MiB`).FindAllString(log, -1)); n != 2 {
		t.Errorf("%d purges of 2 stopping workers:\n%s", n, log)
	}
	if strings.Contains(log, "systemd") {
		t.Errorf("there is no systemd, and the log mentions it:\n%s", log)
	}
}
