package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shown finds the command lines of hapressure in documents: lines of indented blocks, and
// inline code.
var shown = regexp.MustCompile("(?m)^ {4,}(?:\\$ |sudo )?(?:bin/)?hapressure( [^\n]*)$|`(?:sudo )?hapressure( [^`\n]*)`")

// Every command that the documents show is one that there is, with flags that it has.
// What they print is seen in the guest.
func TestCommandsInDocuments(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../../README.md", "../../CONTRIBUTING.md", "../../packaging/policy.d/README") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shown.FindAllStringSubmatch(string(text), -1) {
			found++
			line, _, _ := strings.Cut(m[1]+m[2], " #")
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " && ")
			if strings.Contains(line, " ... ") {
				continue // a message
			}
			cmd, args, err := rootCommand().Find(strings.Fields(line))
			if err == nil && cmd.HasSubCommands() {
				t.Errorf("%s: hapressure%s: there is no such command", file, line)
				continue
			}
			if err == nil {
				err = cmd.ParseFlags(args)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil && !strings.Contains(err.Error(), "help requested") {
				t.Errorf("%s: hapressure%s: %v", file, line, err)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands found", found)
	}
}
