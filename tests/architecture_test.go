// Package tests holds what is tested across packages: the rules of the architecture,
// and the whole on a real machine.
package tests

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commands is the prefix of the packages that do the work of the commands.
const commands = "hapressure/cmd/hapressure/internal/"

// allowed holds, for each package of hapressure, the other ones that it may import.
// docs/architecture.md shows the same as a picture.
var allowed = map[string][]string{
	"hapressure/input":           {},
	"hapressure/policy":          {},
	"hapressure/policy/record":   {"hapressure/policy"},
	"hapressure/policy/schema":   {},
	"hapressure/policy/language": {"hapressure/policy", "hapressure/policy/schema"},
	"hapressure/policy/replay": {"hapressure/policy", "hapressure/policy/language",
		"hapressure/policy/record", "hapressure/policy/simulate"},
	"hapressure/policy/simulate": {"hapressure/policy", "hapressure/policy/record",
		"hapressure/policy/schema"},
	"hapressure/policy/trial": {"hapressure/policy", "hapressure/policy/record",
		"hapressure/policy/replay", "hapressure/policy/schema",
		"hapressure/policy/simulate"},
	"hapressure/cgroup": {},
	"hapressure/haproxy": {"hapressure/haproxy/cli", "hapressure/haproxy/proc",
		"hapressure/haproxy/shctx"},
	"hapressure/haproxy/cli":       {"hapressure/haproxy/proc"},
	"hapressure/haproxy/proc":      {},
	"hapressure/haproxy/shctx":     {},
	"hapressure/systemd":           {},
	"hapressure/controller/status": {"hapressure/policy"},
	"hapressure/controller": {"hapressure/input", "hapressure/policy",
		"hapressure/policy/record", "hapressure/cgroup", "hapressure/controller/status",
		"hapressure/haproxy", "hapressure/systemd"},
	"hapressure/controller/control": {"hapressure/controller", "hapressure/controller/status"},
	"hapressure/cmd/hapressure": {"hapressure/controller", "hapressure/controller/control",
		"hapressure/controller/status", "hapressure/haproxy",
		"hapressure/input", "hapressure/policy", "hapressure/policy/language",
		"hapressure/policy/record", "hapressure/policy/replay", "hapressure/policy/schema",
		"hapressure/policy/simulate", "hapressure/systemd", commands + "daemon",
		commands + "doctor", commands + "host", commands + "inspect",
		commands + "journalctl", commands + "playback", commands + "policyfiles",
		commands + "progress", commands + "recordings", commands + "render",
		commands + "selector", commands + "steering", commands + "top",
		commands + "trials"},
	commands + "daemon": {"hapressure/controller", "hapressure/controller/control",
		"hapressure/controller/status", "hapressure/haproxy",
		"hapressure/haproxy/proc", "hapressure/systemd",
		commands + "host", commands + "journalctl", commands + "policyfiles",
		commands + "render", commands + "steering"},
	commands + "doctor": {"hapressure/cgroup", "hapressure/controller",
		"hapressure/controller/control", "hapressure/controller/status",
		"hapressure/haproxy", "hapressure/policy", "hapressure/policy/language",
		commands + "daemon", commands + "host", commands + "inspect",
		commands + "policyfiles", commands + "render", commands + "selector"},
	commands + "host": {"hapressure/cgroup", "hapressure/controller", "hapressure/policy",
		"hapressure/systemd"},
	commands + "inspect": {"hapressure/controller", "hapressure/controller/control",
		"hapressure/controller/status", commands + "host", commands + "policyfiles",
		commands + "steering"},
	commands + "journalctl": {"hapressure/controller", "hapressure/systemd"},
	commands + "playback": {"hapressure/controller/status", "hapressure/policy",
		"hapressure/policy/language", "hapressure/policy/record"},
	commands + "policyfiles": {"hapressure/controller", "hapressure/input", "hapressure/policy",
		"hapressure/policy/language", "hapressure/systemd", commands + "host"},
	commands + "recordings": {"hapressure/controller", "hapressure/input", "hapressure/policy",
		"hapressure/policy/record", "hapressure/policy/replay", commands + "render"},
	commands + "progress": {commands + "render"},
	commands + "render":   {"hapressure/controller/status", "hapressure/policy"},
	commands + "selector": {"hapressure/cgroup", "hapressure/controller",
		"hapressure/controller/control", "hapressure/haproxy",
		"hapressure/policy", commands + "host"},
	commands + "steering": {"hapressure/controller", "hapressure/policy", commands + "host",
		commands + "policyfiles"},
	commands + "statustest": {"hapressure/controller/status", "hapressure/policy"},
	commands + "trials": {"hapressure/input", "hapressure/policy", "hapressure/policy/language",
		"hapressure/policy/replay", "hapressure/policy/schema", "hapressure/policy/simulate",
		"hapressure/policy/trial", commands + "policyfiles", commands + "recordings",
		commands + "render"},
	commands + "top": {"hapressure/controller/status", "hapressure/policy",
		commands + "playback", commands + "render"},
}

// impure are the packages of the standard library that a package which touches nothing
// has no use for.
var impure = []string{"os", "os/exec", "net", "syscall", "io/fs", "path/filepath", "log",
	"log/slog", "math/rand"}

// isPure reports whether a package touches nothing: data in, data out.
func isPure(pkg string) bool {
	return strings.HasPrefix(pkg, "hapressure/policy") || pkg == "hapressure/haproxy/shctx"
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "hapressure/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		may, ok := allowed[pkg.ImportPath]
		if !ok {
			if !strings.HasPrefix(pkg.ImportPath, "hapressure/tests") {
				t.Errorf("%s has no rule", pkg.ImportPath)
			}
			continue
		}
		seen++
		for _, imp := range pkg.Imports {
			if strings.HasPrefix(imp, "hapressure/") && !slices.Contains(may, imp) {
				t.Errorf("%s imports %s", pkg.ImportPath, imp)
			}
			if isPure(pkg.ImportPath) &&
				(slices.Contains(impure, imp) || strings.Contains(imp, "golang.org/x/sys")) {
				t.Errorf("%s imports %s: it must touch nothing", pkg.ImportPath, imp)
			}
			if pkg.ImportPath == "hapressure/policy" && strings.Contains(imp, "yaml") {
				t.Errorf("%s imports %s: the language is a package of its own", pkg.ImportPath, imp)
			}
			if imp == "os/exec" && pkg.ImportPath != commands+"journalctl" {
				t.Errorf("%s imports %s: a guard never starts a process", pkg.ImportPath, imp)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d of %d packages found", seen, len(allowed))
	}
}

// shell finds what would start a shell, or a process by other means than os/exec.
var shell = regexp.MustCompile(`\b(ba|da)?sh["' ]+-c\b|"(/bin/|/usr/bin/)?(ba|da)?sh"|\b(StartProcess|ForkExec|(syscall|unix)\.Exec)\(`)

// TestNothingGoesThroughAShell: what is read of others is never made a command of.
func TestNothingGoesThroughAShell(t *testing.T) {
	seen := 0
	for _, dir := range []string{"../cmd", "../controller", "../cgroup", "../haproxy", "../policy",
		"../systemd", "../packaging"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if ext := filepath.Ext(path); err != nil || ext != ".go" && ext != ".service" &&
				ext != ".socket" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			seen++
			text, err := os.ReadFile(path)
			// The program executes itself again, with its own arguments.
			text = bytes.Replace(text, []byte("unix.Exec(exe, os.Args, os.Environ())"), nil, 1)
			if found := shell.Find(text); found != nil {
				t.Errorf("%s: %s", path, found)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 50 {
		t.Errorf("%d files found", seen)
	}
	for _, bad := range []string{`exec.Command("sh", "-c", x)`,
		`ExecReload=/bin/sh -c 'kill $MAINPID'`, `os.StartProcess(x)`, `unix.Exec(x)`} {
		if !shell.MatchString(bad) {
			t.Errorf("%s is not found", bad)
		}
	}
}
