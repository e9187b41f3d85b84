package main

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain makes this test program hapressure where it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "hapressure" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program returns the path of hapressure.
func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "hapressure")
	self, err := os.Executable()
	if err == nil {
		var b []byte
		b, err = os.ReadFile(self)
		err = cmp.Or(err, os.WriteFile(bin, b, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// The policy of README's example, with its mistake in line 7.
const badPolicy = `version: 1
tiers:
  - name: purge
    enter:
      any:
        - reload-room: {below: 2}
        - usage: {over: 70%}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
`

func TestCommandLine(t *testing.T) {
	bin := program(t)
	dir := t.TempDir()
	good := strings.Replace(badPolicy, "over", "above", 1)
	for name, text := range map[string]string{"bad.yaml": badPolicy, "good.yaml": good, "dropin.yaml": "version: 1\ntiers: [{name: purge, settle: 7s}]\n",
		"low.yaml":      strings.NewReplacer("70%", "7%", "60%", "6%").Replace(good),
		"scenario.yaml": "duration: 1m\nlimit: 1GiB\ncache: 10MiB\nheap: 90MiB\nconnections: 5\nhalf-life: 1h\nreload: {every: 20s, count: 2}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		args string
		exit int
		says string // on either output
	}{
		{"policy check good.yaml", 0, "the policy good.yaml is good: 1 targets, 1 tiers\n"},
		{"policy check bad.yaml", 1, "hapressure: the policy has mistakes:\nbad.yaml:7:19: usage has an unknown key \"over\": known are above, below\n"},
		{"policy check missing.yaml", 1, "open missing.yaml: no such file or directory"},
		{"policy check --json bad.yaml", 1, `[{"file":"bad.yaml","line":7,"column":19,"problem":"usage has an unknown key \"over\": known are above, below"}]` + "\n"},
		{"policy check --json good.yaml", 0, "[]\n"},
		{"policy check good.yaml dropin.yaml", 0, "good.yaml, dropin.yaml is good: 1 targets, 1 tiers\n"},
		{"policy show good.yaml dropin.yaml", 0, "settle: 7s # dropin.yaml:2\n"},
		{"policy show bad.yaml", 1, "bad.yaml:7:19: "},
		{"policy show missing.yaml", 1, "reading the policy: open missing.yaml: no such file or directory"},
		{"policy explain good.yaml", 0, "Tier 1, purge, is entered when "},
		{"policy explain bad.yaml", 1, "bad.yaml:7:19: "},
		{"policy schema", 0, `"$schema": "https://json-schema.org/draft/2020-12/schema"`},
		{"policy schema extra", 2, "See 'hapressure policy schema --help'."},
		{"policy check --nonsense", 2, "See 'hapressure policy check --help'."},
		{"run --dry-run --policy bad.yaml", 1, "are above, below HAPRESSURE_POLICY=\"the policy bad.yaml\"\nhapressure: the policy has mistakes:\nbad.yaml:7:19:"},
		{"run --dry-run --policy missing.yaml", 1, "open missing.yaml: no such file or directory"},
		{"purge --unit=", 2, "--unit is empty: leave it out, or give a value"},
		{"purge --pid 0", 2, "--pid 0 is not a process number"},
		{"purge --pid -1", 2, "--pid -1 is not a process number"},
		{"purge --all=false", 2, "--all=false chooses nothing"},
		{"purge --pid 1 --all", 2, "give only one of --unit, --pid and --all"},
		{"workers --unit=", 2, "--unit is empty"},
		{"workers --pid=0", 2, "--pid 0 is not"},
		{"status --socket=", 2, "--socket is empty"},
		{"status --watch", 2, "--watch was removed: use 'hapressure top', or 'watch hapressure status'"},
		{"status --watch=1s", 2, "--watch was removed"},
		{"status -w", 2, "--watch was removed"},
		{"events --since=", 2, "--since is empty"},
		{"events --target=", 2, "--target is empty"},
		{"metrics --output=", 2, "--output is empty"},
		{"record --target= -o x.rec", 2, "--target is empty"},
		{"replay first.rec --html=", 2, "--html is empty"},
		{"simulate scenario.yaml -o x.rec --policy=", 2, "--policy is empty"},
		{"__complete purge --unit= ", 0, ":4\n"},
		{"run --policy=", 2, "--policy is empty"},
		{"run --metrics nonsense", 2, `--metrics "nonsense": it must be an address and a port`},
		{"run --metrics :", 2, `the port "" is not a number from 1 to 65535`},
		{"run --metrics 127.0.0.1:0", 2, `the port "0" is not`},
		{"run --metrics :99999", 2, `the port "99999" is not`},
		{"run --recordings-size -5", 2, "--recordings-size -5: it must be a number of MiB from 1 to 1048576"},
		{"run --recordings-size 0", 2, "use --recordings ''"},
		{"run --nonsense", 2, "unknown flag: --nonsense"},
		{"run extra", 2, "See 'hapressure run --help'."},
		{"nonsense", 2, "unknown command \"nonsense\""},
		{"policy nonsense", 2, "unknown command \"nonsense\""},
		{"simulate scenario.yaml -o first.rec --policy good.yaml", 0, "2 reloads, 0 failed; 0 processes killed"},
		{"simulate scenario.yaml", 2, "give -o FILE"},
		{"simulate bad.yaml -o bad.rec", 1, "hapressure: the scenario has mistakes:\nbad.yaml:1: field version not found"},
		{"replay first.rec", 0, "In all, as recorded: nothing\n"},
		{"replay first.rec --policy low.yaml", 0, "First difference from the recording:\n  recorded: nothing more\n  low.yaml: "},
		{"replay first.rec --policy low.yaml --json", 0, `"Kind":"purge-ssl-cache"`},
		{"replay first.rec --policy low.yaml --html -", 0, "<!doctype html>"},
		{"replay first.rec first.rec", 0, "2 samples"},
		{"replay good.yaml", 1, "hapressure: good.yaml: this is not a recording: gzip: invalid header"},
		{"replay missing.rec", 1, "open missing.rec: no such file or directory"},
		{"replay", 2, "See 'hapressure replay --help'."},
		{"metrics --socket none", 1, "hapressure is not running"},
		{"record", 2, "give -o FILE"},
		{"record -o x.rec --target haproxy@*.service", 2, "a recording is of one target"},
		{"events --result gone", 2, `--result "gone" is none of done, refused, failed, skipped`},
		{"events --action purge", 2, `--action "purge" is none of hard-stop-after, page-out, `},
		{"events --lines -1", 2, "See 'hapressure events --help'."},
		{"events extra", 2, "See 'hapressure events --help'."},
		{"policy", 0, "Check a policy and print"},
		{"run --help", 0, "--dry-run"},
		{"--version", 0, "hapressure version devel"},
	}
	for _, tt := range tests {
		cmd := exec.Command(bin, strings.Fields(tt.args)...)
		cmd.Dir = dir // files that one makes are there for the next
		out, err := cmd.CombinedOutput()
		exit := 0
		var e *exec.ExitError
		if errors.As(err, &e) {
			exit = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if exit != tt.exit || !strings.Contains(string(out), tt.says) {
			t.Errorf("hapressure %s: exit %d, want %d with %q:\n%s", tt.args, exit, tt.exit, tt.says, out)
		}
	}
}
