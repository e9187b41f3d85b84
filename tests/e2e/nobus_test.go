package e2e

import (
	"slices"
	"strings"
	"testing"

	"hapressure/controller"
	"hapressure/policy"
)

// hapressure is started on a machine without D-Bus, which comes in the middle of a
// storm. The unit is guarded from the start, by one guard; a hook is run before.
func TestStormWithoutDBus(t *testing.T) {
	m := runInGuest(t, `version: 1
tiers:
  - name: purge
    enter: {usage: {above: 1%}}
    leave: {usage: {below: 0.5%}}
    actions: [purge-ssl-cache: {}]
    hook: {command: [/usr/bin/touch, /run/hooked]}
`, `
systemctl mask --runtime --now dbus.socket dbus.service
rm -f /run/dbus/system_bus_socket
systemctl start hapressure
cat >/run/step <<'END'
set -eu
if [ "$RELOAD" = 2 ]; then
	systemctl show --property=StatusText hapressure
	hapressure doctor | grep "units are found by systemd's private socket"
	hapressure workers --unit haproxy.service
	[ -e /run/hooked ]
	systemctl unmask --runtime dbus.socket dbus.service
	systemctl start dbus.socket
	until hapressure doctor | grep 'units are found by D-Bus'; do sleep 1; done
fi
END
./storm --reloads 3 --tunnels 4 --cache-size 100000 --before 'bash /run/step' --out /out/storm.json
`)
	storm := m.report(t, "storm.json")
	storm.serves(t)
	if storm.TunnelsAlive != storm.TunnelsOpened {
		t.Errorf("%d of %d tunnels are alive", storm.TunnelsAlive, storm.TunnelsOpened)
	}
	if n := len(m.actions(policy.PurgeSSLCache)); n != 3 {
		t.Errorf("%d purges of 3 stopping workers", n)
	}
	var ways []string
	for _, e := range m.of(controller.ConnectionChanged.ID(), "", "") {
		ways = append(ways, e["HAPRESSURE_CONNECTION"])
	}
	if want := []string{"systemd's private socket", "D-Bus"}; !slices.Equal(ways, want) {
		t.Errorf("units were found by %q, want %q", ways, want)
	}
	if n := len(m.of(controller.TargetFound.ID(), "", "")); n != 1 {
		t.Errorf("%d guards, want one for the whole time", n)
	}
	for _, e := range m.of(controller.SensorMissing.ID(), "", "") {
		if strings.Contains(e["MESSAGE"], "systemd") {
			t.Errorf("an entry besides those of the change: %s", e["MESSAGE"])
		}
	}
}
