# shellcheck shell=bash
# Runs in a guest: two HAProxy instances under policies of their own, a policy swapped
# while a tier is held, and what was recorded of it.
set -euo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND"; systemctl status hapressure haproxy@a haproxy@b --no-pager --full | tail -n 60' ERR

count() { # TEXT: entries of hapressure that have it
	journalctl --boot --identifier=hapressure --output=cat | grep --count --fixed-strings -- "$1" || true
}
until_journal() { # TEXT [N]: what has not come when the guest's time is up never comes
	until (($(count "$1") >= ${2:-1})); do sleep 0.5; done
}
cache_of() { # UNIT: MiB that the caches of its stopping workers hold
	./hapressure workers --unit "$1" --json |
		python3 -c 'import json,sys; print(sum((w["cache_bytes"] or 0) >> 20 for m in json.load(sys.stdin)["masters"] for w in m["workers"]))'
}

openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 3650 -subj /CN=localhost 2>/dev/null
cat cert.pem key.pem >/etc/haproxy/site.pem
cat >/etc/systemd/system/haproxy@.service <<'END'
[Service]
Type=notify
RuntimeDirectory=haproxy-%i
ExecStart=/usr/sbin/haproxy -Ws -f /etc/haproxy/%i.cfg -S /run/haproxy-%i/master.sock
ExecReload=/bin/kill -USR2 $MAINPID
MemoryAccounting=yes
END
for i in a b; do
	port=$([[ $i == a ]] && echo 7001 || echo 7002)
	cat >/etc/haproxy/$i.cfg <<END
global
    tune.ssl.cachesize 200000
    maxconn 100
defaults
    mode tcp
    timeout client 1h
    timeout server 1h
    timeout connect 10s
frontend f
    bind 127.0.0.1:$port ssl crt /etc/haproxy/site.pem
    default_backend b
backend b
    server s 127.0.0.1:7000
END
done
socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:cat &
systemctl daemon-reload
systemctl start haproxy@a haproxy@b

cat >/usr/local/bin/note <<'END'
#!/bin/bash
echo "$* $HAPRESSURE_CHANGE $HAPRESSURE_TARGET $HAPRESSURE_TIER_FROM>$HAPRESSURE_TIER $HAPRESSURE_REASON $(</proc/self/cgroup)" >>/root/noted
END
chmod 755 /usr/local/bin/note
runuser --user nobody -- dbus-monitor --system "type='signal',sender='org.hapressure1'" >signals &

policy() { # TIER-2-ACTIONS OF ALL BUT b
	cat <<END
version: 1
targets:
  - unit: haproxy@*.service
  - unit: haproxy@b.service
    tiers:
      - {name: purge, disabled: true}
      - {name: more, disabled: true}
      - {name: nothing, enter: always, actions: [], hook: {command: [/bin/sleep, infinity], timeout: 1s}}
tiers:
  - {name: purge, enter: always, actions: [purge-ssl-cache: {}], hook: {command: [/bin/false]}}
  - name: more
    enter: {usage: {below: 100%}}
    leave: {usage: {above: 100%}}
    actions: [$1]
    hook: {command: [/usr/local/bin/note, '\$HOME', 100%]}
END
}
mkdir -p /etc/hapressure
policy '' >/etc/hapressure/policy.yaml
systemctl start hapressure
until_journal 'Guarding haproxy@a.service'
until_journal 'Guarding haproxy@b.service'
until_journal 'Entering tier more of haproxy@a.service'

echo '== hooks run outside of the sandbox, and any user may receive the signal'
until_journal 'Hook of tier purge of haproxy@a.service, entered: /bin/false: hapressure-hook-purge-'
until_journal 'Hook of tier nothing of haproxy@b.service, entered: /bin/sleep: hapressure-hook-nothing-'
until grep --quiet haproxy@a.service /root/noted; do sleep 0.5; done
until grep --quiet haproxy@a.service signals; do sleep 0.5; done
cat /root/noted signals
grep --extended-regexp --quiet \
	'^.HOME 100% entered haproxy@a.service purge>more usage [0-9.]+% < 100% of the host.s memory 0::/system.slice/hapressure-hook-more-[0-9]+.service$' /root/noted

held=0
hold() { # UNIT PORT: opens a connection, sees that it is through, and reloads
	held=$((held + 1))
	python3 - "$2" >held-$held <<'END' &
import socket, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
c = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
c.sendall(b"x")
if c.recv(1) == b"x":
    print("through", flush=True)
    time.sleep(1e6)
END
	until grep --quiet through held-$held; do sleep 0.5; done
	systemctl reload "$1"
}
echo '== each instance under its own policy'
hold haproxy@a 7001
hold haproxy@b 7002
until_journal 'purge-ssl-cache on worker'
until (($(cache_of haproxy@b) > 40)); do sleep 0.5; done # it is stopping by now
until (($(cache_of haproxy@a) == 0)); do sleep 0.5; done
[[ $(count 'of haproxy@b.service: freed') == 0 ]]
./hapressure workers

echo '== a bad policy changes nothing, another one is taken over in the tier that is held'
tiers=$(count 'Entering tier')
policy 'burn: {}' >/etc/hapressure/policy.yaml
until_journal 'The policy in force stays'
[[ $(systemctl show --property=ActiveState --value hapressure) == active ]]
policy 'trim-pools: {}' >/etc/hapressure/new && mv /etc/hapressure/new /etc/hapressure/policy.yaml
until_journal 'Now in force'
until_journal 'trim-pools on worker'
[[ $(count 'Entering tier') == "$tiers" ]]

echo '== a restart keeps the tier'
systemctl restart hapressure
until_journal 'Guarding haproxy@a.service' 2
hold haproxy@a 7001
until_journal 'purge-ssl-cache on worker' 2
[[ $(count 'Entering tier more') == 1 ]]
[[ $(wc --lines </root/noted) == 1 ]]

echo '== by hand'
status=0
./hapressure purge --unit haproxy@a --json >purge.json || status=$?
[[ $status == 0 ]] && grep --quiet '"result": "purged"' purge.json
status=0
./hapressure purge --unit none || status=$?
[[ $status == 1 ]]

echo '== what was recorded is what the policy decides again'
systemctl stop hapressure
for target in /var/lib/hapressure/recordings/*; do
	./hapressure replay "$target"/* | tail -n 4
done

echo '== a recording without the service'
./hapressure record -o by-hand.rec --target haproxy@a.service &
recorder=$!
until ./hapressure replay by-hand.rec 2>/dev/null | grep --quiet '[2-9] samples'; do sleep 0.5; done
kill -INT $recorder
wait $recorder
./hapressure replay by-hand.rec | tail -n 3
