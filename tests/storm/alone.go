package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed without-master.conf
var withoutMaster []byte

// removeMaster gives the unit name a drop-in by which it runs HAProxy without a master.
func removeMaster(ctx context.Context, name string) error {
	dir := filepath.Join("/etc/systemd/system", name+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s run without a master: %w", name, err)
	}
	err := os.WriteFile(filepath.Join(dir, "without-master.conf"), withoutMaster, 0o644)
	if err != nil {
		return fmt.Errorf("making %s run without a master: %w", name, err)
	}
	_, err = systemctl(ctx, "daemon-reload")
	return err
}
