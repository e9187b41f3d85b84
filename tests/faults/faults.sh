# shellcheck shell=bash
# Runs in a guest: faults.sh NAME... makes a storm of two reloads for each fault, with
# the fault there during the first and over before the second. It leaves, of each,
# /out/NAME.json (the storm's report), NAME.journal (what the journal has of the
# service, from the fault on) and NAME.failed (what did not come) for
# ../e2e/faults_test.go to judge.
#
# fault-NAME makes a fault; mend-NAME ends it and sees that what is to come of it has
# come.
set -uo pipefail
state=/run/faults
policy=/etc/hapressure/policy.yaml
socket=/run/haproxy-master.sock
cd /payload || exit

property() { systemctl show --property="$1" --value "${2:-hapressure}"; }
mark() { journalctl --lines=0 --show-cursor --quiet | sed -n 's/^-- cursor: //p' >"$state/$1"; }
since() { journalctl --after-cursor="$(cat "$state/$1")" --unit=hapressure.service --output=cat --quiet; }

# until_ WAITS FOR a command, so long that what has not come then never comes.
until_() {
	local end=$((SECONDS + 240))
	until "$@"; do
		if ((SECONDS > end)); then
			echo "in vain: $*" | tee -a "/out/$name.failed"
			return 1
		fi
		sleep 0.5
	done
}
has() { since "$1" | grep --fixed-strings -- "$2" >/dev/null; } # not --quiet, which would end journalctl by SIGPIPE: no success either
said() { until_ has "${2:-fault}" "$1"; } # TEXT [since MARK]: hapressure, or systemd of it
sure() { "$@" || { echo "not so: $*" && ./hapressure workers; } 2>&1 | tee -a "/out/$name.failed"; }

workers() { # pids, the oldest first
	pgrep --parent "$(property MainPID haproxy)" --exact haproxy
}
oldest() { workers | head -n 1; }
newest() { workers | tail -n 1; }
state_of() { # PID: what hapressure knows of a worker, by hand
	./hapressure workers --json | python3 -c 'import json, sys
print(*[w["state"] for m in json.load(sys.stdin)["masters"] for w in m["workers"] if w["pid"] == int(sys.argv[1])])' "$1"
}
is() { [[ $(state_of "$1") == "$2" ]]; } # PID STATE
emptied() { # all caches of stopping workers are
	./hapressure workers --json | python3 -c 'import json, sys
stopping = [w for m in json.load(sys.stdin)["masters"] for w in m["workers"] if w["state"] == "stopping"]
sys.exit(not stopping or any(w["cache_bytes"] is None or w["cache_bytes"] > 65536 for w in stopping))'
}
stopping() { [[ $(property StatusText) == haproxy.service:*" $1 of "*' workers stopping' ]]; } # N: so many workers are, as hapressure tells
changed() { [[ $(property MainPID "$1") != "$2" && $(property MainPID "$1") != 0 && $(property ActiveState "$1") == active ]]; } # UNIT PID
background() { # NAME COMMAND...: until end_background
	setsid "${@:2}" >/dev/null 2>&1 &
	echo $! >"$state/$1.pid"
}
end_background() { kill -- "-$(cat "$state/$1.pid")"; }

good_policy() {
	rm -rf $policy
	cat >$policy <<-END
		version: 1
		tiers: [{name: purge, enter: always, actions: [purge-ssl-cache: {}]}]
	END
}

# --- of hapressure itself

fault-daemon-killed() { background killer bash -c 'while systemctl kill --signal=KILL hapressure; do sleep 3; done'; }
mend-daemon-killed() {
	end_background killer
	until_ systemctl is-active --quiet hapressure
}

# It is stopped. Only the watchdog notices.
fault-daemon-stopped() {
	property MainPID >$state/pid
	kill -STOP "$(property MainPID)"
}
mend-daemon-stopped() { until_ changed hapressure "$(cat $state/pid)"; }

fault-daemon-out-of-memory() {
	systemctl set-property --runtime hapressure.service MemoryMax=4M
	said oom-kill
}
mend-daemon-out-of-memory() {
	systemctl set-property --runtime hapressure.service MemoryMax=128M
	until_ systemctl is-active --quiet hapressure
}

# --- of HAProxy

mend-worker-killed-old() { kill -KILL "$(oldest)"; }

# Another process of the unit has the pid of a worker that was known to be stopping, and
# whatever is stopping is to be terminated.
mend-worker-pid-reused() {
	local worker
	worker=$(oldest)
	until_ stopping 1
	systemctl stop hapressure
	kill -KILL "$worker"
	until_ eval "! kill -0 $worker 2>/dev/null"
	for _ in {1..500}; do
		echo $((worker - 1)) >/proc/sys/kernel/ns_last_pid
		sleep 1d >/dev/null 2>&1 &
		(($! == worker)) && break
		kill $!
	done
	echo "$worker" >/sys/fs/cgroup/system.slice/haproxy.service/cgroup.procs
	sed -i 's/purge-ssl-cache: {}/terminate-oldest: {keep: 0}/' $policy
	systemctl start hapressure
	until_ stopping 0
	good_policy
	said 'Now in force'
	sure kill "$worker"
}

come_back() { # COMMAND...: HAProxy ends of it, and systemd starts it again
	local master
	master=$(property MainPID haproxy)
	"$@"
	until_ changed haproxy "$master"
	said 'Guarding haproxy.service'
}
mend-worker-killed-serving() { come_back kill -KILL "$(newest)"; }
mend-master-killed() { come_back kill -KILL "$(property MainPID haproxy)"; }
mend-haproxy-restarted() { come_back systemctl restart haproxy; }
mend-haproxy-stopped() {
	systemctl stop haproxy
	said 'No longer guarding haproxy.service'
	come_back systemctl start haproxy
}

# A worker that does not answer is not known to be stopping.
fault-worker-hung() { systemctl stop hapressure; }
mend-worker-hung() {
	local worker
	worker=$(oldest)
	kill -STOP "$worker"
	mark mend
	systemctl start hapressure
	said 'Guarding haproxy.service' mend
	sure is "$worker" unknown
	kill -CONT "$worker"
	said 'purge-ssl-cache on worker' mend
}

# Nor is one of a frozen unit.
fault-haproxy-frozen() { systemctl stop hapressure; }
mend-haproxy-frozen() {
	systemctl freeze haproxy
	mark mend
	systemctl start hapressure
	said 'Guarding haproxy.service' mend
	sure is "$(oldest)" unknown
	systemctl thaw haproxy
	said 'purge-ssl-cache on worker' mend
}

# --- of the master and its CLI. Stopping workers must be proven again,
# because hapressure did not run when they began to stop.

fault-cli-gone() { systemctl stop hapressure; }
mend-cli-gone() {
	rm $socket
	systemctl start hapressure
	said 'purge-ssl-cache on worker'
}

fault-master-hung() { systemctl stop hapressure; }
mend-master-hung() {
	kill -STOP "$(property MainPID haproxy)"
	systemctl start hapressure
	said 'purge-ssl-cache on worker'
	kill -CONT "$(property MainPID haproxy)"
}

# --- of the host

fault-policy-broken() {
	echo 'version: 2' >$policy
	said 'The policy in force stays'
}
mend-policy-broken() {
	good_policy
	said 'Now in force'
}

# It goes on with what was last in force.
fault-policy-broken-at-start() {
	echo 'version: 2' >$policy
	systemctl restart hapressure
	said 'Guarding haproxy.service'
}
mend-policy-broken-at-start() {
	good_policy
	said "Now in force: the policy $policy"
}

# With none to go on with the service cannot start, tries again and again, and guards
# once it is mended.
fault-policy-always-broken() {
	echo 'version: 2' >$policy
	rm /var/lib/hapressure/policy/in-force
	systemctl restart hapressure
	said 'the policy has mistakes'
}
mend-policy-always-broken() {
	good_policy
	said 'Guarding haproxy.service'
}

fault-policy-removed() {
	rm $policy
	said 'Now in force: the built-in policy'
}
mend-policy-removed() {
	good_policy
	said "Now in force: the policy $policy"
}

fault-policy-a-folder() {
	rm $policy && mkdir $policy
	said 'The policy in force stays'
}
mend-policy-a-folder() {
	good_policy
	said 'Now in force'
}

full() { # FOLDER: of the service, is full from its restart on
	mount -t tmpfs -o size=4k,mode=755 full "$1" && dd if=/dev/zero of="$1/full" 2>/dev/null
	systemctl restart hapressure
}
empty() { # FOLDER
	systemctl stop hapressure
	umount "$1"
	systemctl start hapressure
}
fault-var-full() {
	full /var/lib/hapressure
	said 'Recording of haproxy.service stopped'
}
mend-var-full() {
	said 'purge-ssl-cache on worker'
	empty /var/lib/hapressure
}
fault-run-full() {
	full /run/hapressure
	said 'State of haproxy.service is not persisted'
}
mend-run-full() {
	said 'purge-ssl-cache on worker'
	empty /run/hapressure
}

journald=(systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service)
fault-journald-stopped() { systemctl stop "${journald[@]}"; }
mend-journald-stopped() {
	until_ emptied # the journal cannot show it
	systemctl start "${journald[@]}"
}

recorded() { find /var/lib/hapressure/recordings -type f -newer $state/emptied | grep . >/dev/null; }
# Its socket is full as well.
fault-journald-hung() {
	systemctl kill --signal=STOP systemd-journald
	python3 -c '
import socket
for _ in range(100):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.setblocking(False)
    try:
        while True:
            s.sendto(b"MESSAGE=filling\n", "/run/systemd/journal/socket")
    except BlockingIOError:
        pass'
}
mend-journald-hung() {
	until_ emptied
	touch $state/emptied
	until_ recorded # it has looked again since, so it does not wait for journald
	systemctl kill --signal=CONT systemd-journald
	said 'purge-ssl-cache on worker'
}

fault-dbus-stopped() {
	systemctl stop dbus.socket dbus.service
	said "Finding units by systemd's private socket"
}
mend-dbus-stopped() {
	said 'purge-ssl-cache on worker'
	systemctl start dbus.socket
	said 'Finding units by D-Bus'
}

fault-dbus-hung() {
	systemctl kill --signal=STOP dbus
	said "Finding units by systemd's private socket"
}
mend-dbus-hung() {
	said 'purge-ssl-cache on worker'
	systemctl kill --signal=CONT dbus
	said 'Finding units by D-Bus'
}

# It is not there when hapressure starts, and comes later. The shipped sandbox lets it
# reach systemd's own socket.
fault-dbus-late() {
	systemctl stop dbus.socket dbus.service
	systemctl restart hapressure
	said 'Guarding haproxy.service'
}
mend-dbus-late() {
	said 'purge-ssl-cache on worker'
	sure eval './hapressure doctor | grep "units are found by systemd.s private socket"'
	systemctl start dbus.socket
	said 'Finding units by D-Bus'
}

# For hapressure, systemd is not even at its own socket.
fault-systemd-gone() {
	systemctl stop dbus.socket dbus.service
	mkdir -p /run/systemd/system/hapressure.service.d
	printf '[Service]\nInaccessiblePaths=/run/systemd/private\n' >/run/systemd/system/hapressure.service.d/gone.conf
	systemctl daemon-reload
	systemctl restart hapressure
	said 'Guarding haproxy.service'
}
mend-systemd-gone() {
	said 'purge-ssl-cache on worker'
	systemctl start dbus.socket
	said 'Finding units by D-Bus'
	rm /run/systemd/system/hapressure.service.d/gone.conf
	systemctl daemon-reload
}

fault-clock-set-back() { date --set='1 hour ago' >/dev/null; }
mend-clock-set-back() {
	said 'purge-ssl-cache on worker'
	date --set='1 hour' >/dev/null
}

pressure_of() { echo "$1" >"/sys/fs/cgroup$(property ControlGroup haproxy)/cgroup.pressure"; }
fault-pressure-off() {
	pressure_of 0
	said 'Cannot read memory.pressure'
}
mend-pressure-off() {
	said 'purge-ssl-cache on worker'
	pressure_of 1
	until_ armed
}
armed() { find "/proc/$(property MainPID)/fd" -lname '*/memory.pressure' | grep . >/dev/null; }

# A process that has touched more than swap holds, and stays.
fault-swap-full() {
	fallocate -l 64M /swap && chmod 600 /swap && mkswap --quiet /swap && swapon /swap
	systemd-run --quiet --unit=filler --property=MemoryMax=24M --property=OOMPolicy=continue python3 -c '
import time
held = []
while int(next(l for l in open("/proc/meminfo") if l.startswith("SwapFree")).split()[1]) > 2048:
    held.append(bytes([1]) * (1 << 20))
time.sleep(1e6)'
	until_ eval "awk '/SwapFree/ {exit \$2 > 2048}' /proc/meminfo"
	systemctl set-property --runtime haproxy.service MemorySwapMax=infinity
	sed -i 's/purge-ssl-cache: {}/&, page-out: {}/' $policy
	said 'Now in force'
}
mend-swap-full() {
	said 'purge-ssl-cache on worker'
	said 'page-out on worker'
	systemctl stop filler
	swapoff /swap
}

# --- the storm calls this before each reload and before its end

step() {
	case $RELOAD in
	1)
		until_ stopping 0
		mark fault
		if declare -F "fault-$name" >/dev/null; then "fault-$name"; fi
		;;
	2)
		"mend-$name"
		mark over
		;;
	3)
		# A worker that the fault knew nothing of is purged.
		said ': freed' over
		since fault >"/out/$name.journal"
		;;
	esac
}

mkdir -p $state /etc/hapressure
name=$1
if [[ -v RELOAD ]]; then
	step
	exit 0
fi
for name; do
	echo "== $name"
	good_policy
	systemctl reset-failed hapressure 2>/dev/null
	systemctl restart hapressure
	./storm --reloads 2 --tunnels 4 --cache-size 100000 --interval 0s --settle 0s --before "bash faults.sh $name" --out "/out/$name.json" >/dev/null
done
