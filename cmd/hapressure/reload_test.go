package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
)

// A policy with mistakes does not replace the one in force, and one without does.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	var said bytes.Buffer
	journal := systemd.NewJournal(&said)
	tries := []string{"cgruop", "cgroup"}
	load := func() *policy.Policy {
		text := "version: 1\ntargets: [{" + tries[0] + ": /none}]\n"
		tries = tries[1:]
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
		return reloadPolicy(journal, []string{file})
	}
	reload := make(chan os.Signal, 2)
	reload <- syscall.SIGHUP
	reload <- syscall.SIGHUP
	config := controller.Config{Policy: policy.Default(), Procfs: "/proc", Cgroups: t.TempDir(), Journal: journal}
	p, err := guard(t.Context(), config, reload, load)
	if err != nil || p == nil || len(p.Targets) != 1 || p.Targets[0].Cgroup != "/none" {
		t.Fatalf("the reload's policy is %v, %v", p, err)
	}
	if len(tries) != 0 {
		t.Errorf("not loaded: %q", tries)
	}
	rejected, loaded, _ := strings.Cut(said.String(), "\n")
	if !strings.Contains(rejected, "the policy before stays in force: the policy has mistakes: "+file+":2:") {
		t.Errorf("of the mistake it said %q", rejected)
	}
	if !strings.Contains(loaded, "Loaded the policy "+file) {
		t.Errorf("of the good policy it said %q", loaded)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := guard(ctx, config, reload, load); p != nil || err != nil {
		t.Errorf("after the end guard returned %v, %v", p, err)
	}
}
