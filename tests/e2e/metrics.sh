# shellcheck shell=bash
# Runs in a guest: Prometheus scrapes hapressure over TCP through a storm, and is then
# asked all that the dashboard asks.
set -euo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND"; systemctl status hapressure hapressure-metrics.socket --no-pager --full | tail -n 40; tail -n 20 prometheus.log || true' ERR

get() { # PATH [METHOD]: prints the status and the body
	python3 - "$@" <<'END'
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", 19787, timeout=30)
c.request((sys.argv + ["GET"])[2], sys.argv[1])
r = c.getresponse()
print(r.status, r.read().decode())
END
}
is() { # WHAT GOT WANT
	[[ $2 == "$3" ]] || { echo "$1: $2, want $3" && return 1; }
}

echo '== the socket, which is not there before it is enabled'
mkdir -p /etc/hapressure
cat >/etc/hapressure/policy.yaml <<END
version: 1
tiers:
  - {name: purge, enter: always, actions: [purge-ssl-cache: {}]}
  - {name: shorten, enter: always, actions: [hard-stop-after: {limit: 30m}]}
END
dpkg --install ./1.deb >/dev/null
if get /metrics 2>/dev/null; then echo 'it is served without having been enabled' && false; fi
systemd-analyze verify --man=no hapressure-metrics.socket
systemctl enable --quiet hapressure-metrics.socket
systemctl restart hapressure
get /metrics | grep --quiet '^hapressure_build_info'
is 'status over TCP' "$(get /v1/status | head -c 3)" 404
is 'purge over TCP' "$(get '/v1/purge?target=haproxy.service&pid=1' POST | head -c 3)" 404
systemctl show --property=PrivateNetwork,RestrictAddressFamilies,IPAddressDeny hapressure

echo '== a stopped service is not started by a scrape'
systemctl stop hapressure
if get /metrics 2>/dev/null; then echo 'the socket outlives the service' && false; fi
is ActiveState "$(systemctl show --property=ActiveState --value hapressure)" inactive
systemctl start hapressure
pid=$(systemctl show --property=MainPID --value hapressure)

echo '== a storm'
cat >prometheus.yml <<END
rule_files: [/usr/share/hapressure/prometheus/alerts.yaml]
scrape_configs:
  - {job_name: hapressure, scrape_interval: 2s, scrape_timeout: 2s, static_configs: [{targets: ['127.0.0.1:19787']}]}
END
./prometheus --config.file prometheus.yml --storage.tsdb.path /tmp/tsdb --web.listen-address 127.0.0.1:9090 >prometheus.log 2>&1 &
./storm --kind cache --reloads 3 --tunnels 5 --limit 900M --out /out/storm.json
is MainPID "$(systemctl show --property=MainPID --value hapressure)" "$pid"

echo '== all that the dashboard asks'
python3 - <<'END'
import json, sys, time, urllib.parse, urllib.request
dashboard = json.load(open("/usr/share/hapressure/grafana/hapressure.json"))
now, empty = time.time(), 0
def ask(expr):
    q = urllib.parse.urlencode({"query": expr, "start": now - 900, "end": now, "step": 1})
    return json.load(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/query_range?" + q))["data"]["result"]
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        expr = target["expr"]
        for variable, value in (("$instance", ".*"), ("$target", ".*"), ("$__rate_interval", "30s"), ("$__range", "15m")):
            expr = expr.replace(variable, value)
        found = ask(expr)
        last = [v["values"][-1][1] for v in found]
        print(f'{len(found):3} {panel["title"]} {target["refId"]}: {" ".join(last)}')
        if not found and "sensor_missing" not in expr and "withheld" not in expr: # nothing is, which is well
            empty += 1
print("most memory:", max(float(v) for s in ask("hapressure_resident_memory_bytes") for _, v in s["values"]) / 2**20, "MiB resident")
print("alerts:", [s["metric"] for s in ask("ALERTS")])
sys.exit(empty)
END

echo '== the textfile'
mkdir -p /var/lib/prometheus/node-exporter
hapressure metrics --output /var/lib/prometheus/node-exporter/hapressure.prom
is mode "$(stat --format=%a /var/lib/prometheus/node-exporter/hapressure.prom)" 644
grep --quiet 'hapressure_actions_total{action="purge-ssl-cache",result="done",target="haproxy.service",tier="purge"} [1-9]' \
	/var/lib/prometheus/node-exporter/hapressure.prom
