package host

import (
	"path/filepath"
	"testing"

	"hapressure/controller"
)

// A way that fails returns a nil interface.
func TestWaysThatFailAreNil(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	ways := Ways(t.TempDir())
	if u, err := ways[0].Connect(t.Context()); err == nil || u != nil {
		t.Errorf("%s: %#v, %v", ways[0].Name, u, err)
	}
	if link, err := controller.Connect(t.Context(), ways); err != nil || link.Name == "D-Bus" ||
		link.Lacks == "" {
		t.Errorf("%+v, %v", link, err)
	}
}
