package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commandLine finds command lines in the indented blocks of documents.
var commandLine = regexp.MustCompile(`(?m)^ {4,}(?:\$ )?((?:hapressure|journalctl|systemctl|systemd-analyze|curl|cat|usermod|busctl|dbus-monitor|gdbus) [^\n]*)$`)

// elsewhere are command lines that are not run with the others.
var elsewhere = []string{
	"hapressure: ",   // what a command has printed
	"hapressure top", // needs a terminal: see cmd/hapressure/internal/top/top_test.go
	"curl ",          // is not in the guest: controller/control tests the request
	// shown for what it says of mistakes: see policy/language/testdata/bad
	"hapressure policy check policy.yaml",
	// shown for what it says of a failure: see cmd/hapressure/testdata/script
	"hapressure policy test mine_test.yaml",
	// takes minutes in an emulated guest: see cmd/hapressure/internal/trials
	"hapressure policy test /usr/share/hapressure/policies/tests/*.yaml",
}

// placeholders are the words in documents that stand for names of the reader's, and
// what they are in the guest.
var placeholders = strings.NewReplacer(
	"-o FILE", "-o /tmp/recording", "FILE...", "/var/lib/hapressure/recordings/haproxy.service/*",
	"FILE", "/var/lib/hapressure/recordings/haproxy.service/*",
	"NAME", "ops",
)

// documentedCommands are the command lines of README.md and docs, one a line, as they
// are run in a guest (package.sh).
func documentedCommands(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, file := range append(files, "../../README.md") {
		if filepath.Base(file) == "cli.md" {
			continue // the help's examples need files of the reader's; cmd parses them
		}
	next:
		for _, m := range commandLine.FindAllStringSubmatch(read(t, file), -1) {
			line, _, _ := strings.Cut(m[1], " #")
			line, _, _ = strings.Cut(line, " | jq ") // which the guest has not
			for _, e := range elsewhere {
				if strings.HasPrefix(line, e) {
					continue next
				}
			}
			line = placeholders.Replace(strings.TrimSpace(line))
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) < 15 {
		t.Fatalf("only %d commands found", len(lines))
	}
	return strings.Join(lines, "\n") + "\n"
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
