package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/tests/haproxytest"
)

// internals are words of Go that no message has.
var internals = regexp.MustCompile(`strconv\.|ParseInt|syntax error near|goroutine |panic|` +
	`/proc/self/fd|context (deadline|canceled)|dial unix|net/http|%!|<nil>|unexpected EOF`)

// TestBadInputs runs the command lines of testdata/badinputs.txt, each of which is wrong:
// none crashes, hangs or is accepted, the exit code is right, and the message names what
// to do.
func TestBadInputs(t *testing.T) {
	file, err := os.Open("testdata/badinputs.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	badFiles(t)
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.SplitN(line, " | ", 3)
		if len(cells) != 3 {
			t.Fatalf("%q is not EXIT | ARGUMENTS | MESSAGE", line)
		}
		exit, err := strconv.Atoi(strings.TrimSpace(cells[0]))
		if err != nil {
			t.Fatal(err)
		}
		n++
		args := strings.Fields(cells[1])
		for i := range args {
			args[i] = strings.Trim(args[i], "'") // '' is an empty argument
		}
		code, out, stderr := inProcess(t, args)
		problem := ""
		switch {
		case code != exit:
			problem = "exit code " + strconv.Itoa(code)
		case !strings.Contains(stderr, strings.TrimSpace(cells[2])):
			problem = "another message"
		case internals.MatchString(stderr):
			problem = "it names internals"
		case !strings.HasPrefix(stderr, "hapressure: ") || !strings.HasSuffix(stderr, "\n"):
			problem = "no message of hapressure"
		case (code == exitUsage) != strings.Contains(stderr, "\nSee 'hapressure"):
			problem = "a hint at the help, or none"
		case repeats(stderr):
			problem = "a line is printed twice"
		case out != "" && out != "[]\n":
			problem = "it prints to standard output: " + out
		}
		if problem != "" {
			t.Errorf("%s\n%s:\n%s", line, problem, stderr)
		}
	}
	if n < 171 {
		t.Errorf("only %d lines", n)
	}
}

// inProcess runs the command line in this process, which must not take long.
func inProcess(t *testing.T, args []string) (code int, stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&said)
	root.SetIn(strings.NewReader(""))
	done := make(chan int, 1)
	go func() { done <- execute(root) }()
	select {
	case code = <-done:
	case <-time.After(haproxytest.Deadline):
		t.Fatalf("%q does not end", args)
	}
	return code, out.String(), said.String()
}

func repeats(text string) bool {
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		if seen[line] {
			return true
		}
		seen[line] = true
	}
	return false
}

// badFiles makes the files that badinputs.txt names, in a folder of its own.
func badFiles(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", dir) // journalctl is the one below
	const tier = "  - name: a\n    enter: {usage: {above: 70%}}\n" +
		"    leave: {usage: {below: 60%}}\n    actions: [purge-ssl-cache: {}]\n"
	good := "version: 1\ntiers:\n" + tier
	scenario := "duration: 1m\nlimit: 1GiB\ncache: 10MiB\nheap: 90MiB\nconnections: 5\n" +
		"half-life: 1h\nreload: {every: 20s, count: 2}\n"
	for name, text := range map[string]string{
		"good.yaml": good, "empty.yaml": "", "text.yaml": "hello", "list.yaml": "- a\n",
		"version2.yaml": strings.Replace(good, "version: 1", "version: 2", 1),
		"key.yaml":      strings.Replace(good, "enter:", "entre:", 1),
		"value.yaml":    strings.Replace(good, "70%", "170%", 1),
		"unit.yaml":     strings.Replace(good, "70%", "70", 1),
		"action.yaml":   strings.Replace(good, "purge-ssl-cache", "purge-ssl", 1),
		"twice.yaml":    good + tier,
		"overlap.yaml":  strings.Replace(good, "60%", "80%", 1),
		"tab.yaml":      strings.Replace(good, "  - name", "\t- name", 1),
		"binary.yaml":   "\x00\xff\x1b[31m", "long.yaml": strings.Repeat("#\n", policyfiles.Limit),
		"scenario.yaml": scenario, "bad-scenario.yaml": "version: 1\n",
		"minus.yaml":    strings.Replace(scenario, "1GiB", "-1GiB", 1),
		"no-limit.yaml": strings.Replace(scenario, "limit: 1GiB\n", "", 1),
		"text.rec":      "hello",
		"journalctl":    "#!/bin/sh\necho 'Failed to parse timestamp: nonsense' >&2\nexit 1\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	code, _, stderr := inProcess(t, []string{"simulate", "scenario.yaml", "-o", "good.rec",
		"--policy", "good.yaml"})
	rec, err := os.ReadFile("good.rec")
	if code != 0 || err != nil {
		t.Fatalf("%d, %v, %s", code, err, stderr)
	}
	other := filepath.Join("other", "scenario2.yaml")
	err = errors.Join(os.Mkdir("folder", 0o755), os.Mkdir("other", 0o755),
		syscall.Mkfifo("fifo", 0o600), os.WriteFile("head.rec", rec[:10], 0o600),
		os.WriteFile("rest.rec", rec[10:], 0o600), os.WriteFile("huge", nil, 0o600),
		os.Truncate("huge", 1<<40), os.Symlink("loop", "loop"), os.WriteFile(other,
			[]byte(scenario), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	inProcess(t, []string{"simulate", other, "-o", "other.rec", "--policy", "good.yaml"})
}
