package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// unit is how the storm starts and reloads HAProxy: by systemd in the guest, by hand in the tests.
type unit struct {
	start        func(context.Context) error
	reload       func(context.Context) error
	cgroup       func(context.Context) (string, error) // folder of its cgroup, "" if it has none of its own
	masterSocket string
}

// systemdUnit limits the unit name to limit bytes without swap before it is started; 0 leaves its limits alone.
func systemdUnit(name string, limit int64) unit {
	return unit{
		start: func(ctx context.Context) error {
			if limit > 0 {
				_, err := systemctl(ctx, "set-property", "--runtime", name,
					"MemoryMax="+strconv.FormatInt(limit, 10), "MemorySwapMax=0")
				if err != nil {
					return err
				}
			}
			// restart, not start: a unit that runs already has a configuration and counters that are not ours.
			_, err := systemctl(ctx, "restart", name)
			return err
		},
		reload: func(ctx context.Context) error {
			_, err := systemctl(ctx, "reload", name)
			return err
		},
		cgroup: func(ctx context.Context) (string, error) {
			path, err := systemctl(ctx, "show", "--property=ControlGroup", "--value", name)
			if err != nil {
				return "", err
			}
			if path == "" {
				return "", fmt.Errorf("finding the cgroup of %s: systemd names none", name)
			}
			return filepath.Join("/sys/fs/cgroup", path), nil
		},
		masterSocket: "/run/haproxy-master.sock",
	}
}

// systemctl returns what it printed; its error holds the first line that it complained with.
func systemctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		complaint, _, _ := strings.Cut(stderr.String(), "\n")
		return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, complaint)
	}
	return strings.TrimSpace(stdout.String()), nil
}
