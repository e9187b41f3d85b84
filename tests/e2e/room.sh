# shellcheck shell=bash
# Runs in a guest in which hapressure is installed: storms with and without make-room as
# the first ExecReload=, then reloads that must not fail because of it.
set -euo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND"' ERR
conf=/etc/systemd/system/haproxy.service.d
example=haproxy-make-room.conf
mkdir -p $conf
printf '[Service]\nOOMPolicy=continue\n' >$conf/oom.conf

# The example repeats the lines of the distribution's unit.
diff <(grep ^ExecReload= /usr/lib/systemd/system/haproxy.service) \
  <(grep '^ExecReload=/' $example)

gate() { install -m 644 $example $conf/make-room.conf; systemctl daemon-reload; }
no_gate() { rm -f $conf/make-room.conf; systemctl daemon-reload; }

# Storms of a fifth of the usual size: a worker holds some 80 MiB, of which 30 MiB
# stay after a purge.
small='--cache-size 200000 --heap-mib 20 --settle 5s'
storm() { # NAME ARGS...: a storm, and what make-room counted
  name=$1
  shift
  systemctl restart haproxy hapressure
  # shellcheck disable=SC2086
  ./storm $small "$@" --out "/out/$name.json"
  hapressure metrics >"/out/$name.prom"
  systemctl stop hapressure
}

heap='--kind heap --interval 5s --limit 320M'
flood='--kind flood --reloads 8 --limit 320M'
for way in no_gate gate; do
  $way
  # shellcheck disable=SC2086
  storm flood-$way $flood
  # shellcheck disable=SC2086
  storm heap-$way $heap
  # Nothing cuts a connection but make-room.
  install -m 644 drains.yaml /etc/hapressure/policy.yaml
  # shellcheck disable=SC2086
  storm drains-$way $heap
  rm /etc/hapressure/policy.yaml
done

# From here on a reload works, and its gate does not.
./storm $small --kind cache --reloads 1 --tunnels 1 --limit 320M --out /out/last.json
reloads() { # WHAT AT_MOST_SECONDS
  began=$(date +%s)
  systemctl reload haproxy || { echo "FAILED: reload with $1"; exit 1; }
  took=$(($(date +%s) - began))
  echo "reload with $1: $took s"
  [ $took -le "$2" ] || { echo "FAILED: it took more than $2 s"; exit 1; }
}
exits() { # CODE COMMAND...
  code=0
  "${@:2}" || code=$?
  [ "$code" = "$1" ] || { echo "FAILED: ${*:2}: $code instead of $1"; exit 1; }
}
systemctl stop hapressure
exits 0 hapressure make-room --unit haproxy
reloads 'no daemon' 15
systemctl start hapressure
exits 1 hapressure make-room --unit misspelt
exits 1 setpriv --reuid=65534 --regid=65534 --clear-groups hapressure make-room --unit haproxy
exits 4 hapressure make-room --unit haproxy --reloads 100 --timeout 1s
systemctl kill --signal=STOP hapressure
reloads 'a stopped daemon' 45
systemctl kill --signal=CONT hapressure
mv /usr/bin/hapressure /usr/bin/hapressure.away
reloads 'no program' 15
mv /usr/bin/hapressure.away /usr/bin/hapressure
sed -i 's/make-room --unit/make-room --reloads 100 --unit/' $conf/make-room.conf
systemctl daemon-reload
systemctl reload haproxy &
until pgrep -f 'hapressure make-room' >/dev/null; do sleep 0.1; done
grep -E '^(VmHWM|RssAnon|RssFile)' "/proc/$(pgrep -f 'hapressure make-room')/status"
pkill -KILL -f 'hapressure make-room'
wait $!
echo 'reload with a killed make-room: done'
