# shellcheck shell=bash
# Runs in a guest: installs, uses, upgrades, removes and purges the package, as an
# administrator would. 1.deb is older than 2.deb.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
trap 'echo "line $LINENO failed: $BASH_COMMAND"; systemctl status hapressure --no-pager --full | tail -n 20' ERR

section() { echo "== $SECONDS s: $1"; }
same() { # WHAT GOT WANT
	[[ $2 == "$3" ]] || { echo "$1: $2, want $3" && return 1; }
}
property() { systemctl show --property="$1" --value "${2:-hapressure}"; }
until_journal() { # TEXT: what has not come when the guest's time is up never comes
	until journalctl --boot --identifier=hapressure --output=cat | grep --quiet --fixed-strings "$1"; do sleep 0.5; done
}
apt_get() { apt-get --quiet --quiet --yes "$@" </dev/null; }

section 'install, without HAProxy running'
apt_get install ./1.deb
same active "$(property ActiveState)" active
same enabled "$(systemctl is-enabled hapressure)" enabled
until_journal 'hapressure 1 started with the built-in policy'
same status "$(property StatusText)" 'waiting for HAProxy'
until busctl status org.hapressure1 >/dev/null 2>&1; do sleep 0.5; done # the bus knows of the policy that came with it
/usr/bin/hapressure policy check
for id in $MESSAGE_IDS; do
	journalctl --dump-catalog "$id" | grep --quiet 'Defined-By: hapressure'
done

section 'its sandbox and its own protection'
systemctl --version | head -n 1
systemd-analyze verify --man=no hapressure.service hapressure.socket haproxy.slice hapressure.slice
systemd-analyze security --no-pager hapressure.service | tail -n 1
systemd-analyze security --no-pager --threshold=25 hapressure.service >/dev/null
pid=$(property MainPID)
cgroup=/sys/fs/cgroup$(property ControlGroup)
same cgroup "$(property ControlGroup)" /hapressure.slice/hapressure.service
same memory.min "$(cat "$cgroup/memory.min" "$cgroup/../memory.min" | xargs)" '33554432 33554432'
same memory.swap.max "$(cat "$cgroup/memory.swap.max")" 0
same oom_score_adj "$(cat "/proc/$pid/oom_score_adj")" -900
grep --quiet '^Seccomp:[[:space:]]*2$' "/proc/$pid/status"

section 'a storm, with the built-in policy'
./storm --kind cache --reloads 2 --tunnels 5 --limit 1100M --out /out/storm.json
until_journal 'purge-ssl-cache on worker'
hapressure status | tee /out/status.txt
grep --quiet 'purge-ssl-cache .*freed' /out/status.txt
useradd ops
if runuser -u ops -- hapressure status; then echo 'any user may ask' && false; fi
usermod --append --groups hapressure ops
runuser -u ops -- hapressure status --json | grep --quiet '"targets"'
[[ $(journalctl --boot --unit=haproxy --output=cat) == *'purge-ssl-cache on worker'* ]]
[[ $(hapressure events --target haproxy.service --result done --json) == *'"kind":"action","message":"purge-ssl-cache on worker'* ]]
same 'process' "$(property MainPID)" "$pid"

section 'doctor: all is well; then a right is taken away from the service'
hapressure doctor
mkdir -p /etc/systemd/system/hapressure.service.d
printf '[Service]\nCapabilityBoundingSet=~CAP_SYS_PTRACE\n' >/etc/systemd/system/hapressure.service.d/less.conf
systemctl daemon-reload
systemctl restart hapressure
until_journal 'Missing right CAP_SYS_PTRACE: not in the effective set'
hapressure status | grep --fixed-strings 'CAP_SYS_PTRACE: not in the effective set'
code=0
hapressure doctor >doctor.txt || code=$?
same 'exit of doctor' $code 3
cat doctor.txt
same problems "$(grep --count ^problem doctor.txt)" 1
grep --quiet '^problem  rights     CAP_SYS_PTRACE: .* no action can be done$' doctor.txt
grep --quiet 'let the service have CAP_SYS_PTRACE' doctor.txt
grep --quiet '^ok       recordings /var/lib/hapressure/recordings: .* bound: ' doctor.txt
rm /etc/systemd/system/hapressure.service.d/less.conf
systemctl daemon-reload
systemctl restart hapressure
hapressure doctor >doctor.txt
pid=$(property MainPID)

section 'doctor: what ends all of HAProxy when memory is short'
slice=$(property Slice haproxy)
oom=/run/systemd/system/haproxy.service.d/zz-oom.conf
mkdir -p "${oom%/*}"
printf '[Service]\nOOMPolicy=continue\n' >$oom
systemctl daemon-reload
hapressure doctor >doctor.txt
grep --quiet '^ok       oom        haproxy.service: a shortage of memory ends single processes' doctor.txt
printf '[Service]\nOOMPolicy=stop\n' >$oom
systemctl daemon-reload
systemctl set-property --runtime "$slice" ManagedOOMSwap=kill
systemd-run --quiet --unit=systemd-oomd.service sleep infinity # the name is enough
hapressure doctor >doctor.txt
grep --quiet '^warning  oom        haproxy.service has OOMPolicy=stop' doctor.txt
grep --quiet "^warning  oom        $slice has ManagedOOMSwap=kill" doctor.txt
systemctl set-property --runtime haproxy.service ManagedOOMPreference=omit
hapressure doctor >doctor.txt
if grep ManagedOOM doctor.txt; then echo 'haproxy.service is exempt' && false; fi
systemctl stop systemd-oomd.service
systemctl set-property --runtime haproxy.service ManagedOOMPreference=none
systemctl set-property --runtime "$slice" ManagedOOMSwap=auto
rm $oom
systemctl daemon-reload

section 'a policy of its own'
mkdir -p /etc/systemd/system/haproxy.service.d
printf '[Service]\nMemorySwapMax=infinity\n' >/etc/systemd/system/haproxy.service.d/zz-swap.conf
systemctl daemon-reload
fallocate -l 512M /swap && chmod 600 /swap && mkswap /swap >/dev/null && swapon /swap
echo 'version: 2' >/etc/hapressure/policy.yaml
if systemctl reload hapressure; then echo 'a reload with a policy that has mistakes succeeded' && false; fi
cat >/etc/hapressure/policy.yaml <<END
version: 1
tiers:
  - name: all-but-terminate
    enter: always
    actions: [purge-ssl-cache: {}, trim-pools: {}, page-out: {}]
END
systemctl reload hapressure
until_journal 'Now in force: the policy /etc/hapressure/policy.yaml'
./storm --kind cache --reloads 2 --tunnels 5 --limit '' --cache-size 200000 --out /out/storm-all.json
until_journal 'page-out on worker'
same 'process' "$(property MainPID)" "$pid"
haproxy=$(property MainPID haproxy)

section 'every command of the documents'
cp -r "$PWD" /tmp/user && cd /tmp/user
while read -r line; do
	code=0 limit=60
	if grep --quiet --extended-regexp -- '--follow|hapressure record|monitor' <<<"$line"; then
		limit=3 # it runs until it is interrupted
	fi
	timeout $limit bash -c "$line" >/tmp/said 2>&1 </dev/null || code=$?
	echo "$code $line"
	if ((code != 0 && !(code == 124 && limit == 3))); then cat /tmp/said && false; fi
done <commands
cd "$OLDPWD"

section 'upgrade'
echo '# mine' >>/etc/hapressure/policy.d/README
apt_get install ./2.deb
until_journal 'hapressure 2 started with the policy /etc/hapressure/policy.yaml'
same active "$(property ActiveState)" active
if [[ $(property MainPID) == "$pid" ]]; then echo 'it was not restarted' && false; fi
tail -n 1 /etc/hapressure/policy.d/README | grep --quiet mine
systemctl disable --quiet hapressure
apt_get reinstall ./2.deb
same 'disabled by hand' "$(systemctl is-enabled hapressure || true)" disabled
systemctl enable --quiet hapressure

section 'remove'
echo "most memory used by hapressure: $(cat "$cgroup/memory.peak" 2>/dev/null || cat "$cgroup/memory.current") bytes"
apt_get remove hapressure
same removed "$(property LoadState)" not-found
same haproxy "$(property MainPID haproxy)" "$haproxy"
same haproxy "$(property ActiveState haproxy)" active
grep --quiet all-but-terminate /etc/hapressure/policy.yaml
tail -n 1 /etc/hapressure/policy.d/README | grep --quiet mine
ls -d /var/lib/hapressure

section 'install again, purge'
apt_get install ./2.deb
same active "$(property ActiveState)" active
apt_get purge hapressure
for left in /etc/hapressure /var/lib/hapressure /etc/systemd/system/multi-user.target.wants/hapressure.service \
	/var/lib/systemd/deb-systemd-helper-enabled/hapressure.service.dsh-also /usr/bin/hapressure; do
	if [[ -e $left || -L $left ]]; then echo "$left is left" && false; fi
done
same haproxy "$(property MainPID haproxy)" "$haproxy"
