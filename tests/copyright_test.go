package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hapressure/tests/golden"
)

// copyrightHeader begins packaging/copyright, whose format is Debian's machine-readable
// one: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
const copyrightHeader = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: hapressure
Comment:
 The program contains the Go standard library (go/*) and the modules below, which are
 named by their import paths. "go test ./tests -run Current -update" writes this file.

Files: *
Copyright: 2026 the hapressure authors
License: Apache-2.0
`

const apacheReference = `
License: Apache-2.0
 The full text of the Apache License, version 2.0, is in LICENSE beside this file, or,
 on Debian systems, in /usr/share/common-licenses/Apache-2.0.
`

// TestCopyrightIsCurrent compares packaging/copyright with the licences and notices of
// all that the program links.
func TestCopyrightIsCurrent(t *testing.T) {
	var out strings.Builder
	out.WriteString(copyrightHeader)
	licences := []string{"Apache-2.0"}
	for _, files := range linked(t) {
		licence := stanza(t, &out, files)
		licences = append(licences, strings.Split(licence, " and ")...)
	}
	out.WriteString(apacheReference)
	golden.Check(t, "../packaging/copyright", out.String())

	slices.Sort(licences)
	spdx := strings.ReplaceAll(strings.Join(slices.Compact(licences), " AND "), "Expat", "MIT")
	if !strings.Contains(read(t, "../packaging/nfpm.yaml"), "\nlicense: "+spdx+"\n") {
		t.Errorf("packaging/nfpm.yaml does not have the license %s", spdx)
	}
}

// legal are files with the licence of what lies beside and below them.
type legal struct {
	covers string // an import path, "go" for the standard library
	dir    string
}

// linked returns where the licences of the program's parts are: of the standard library,
// of each module, and of folders in modules, such as copies of other modules.
func linked(t *testing.T) []legal {
	t.Helper()
	all := []legal{{"go", strings.TrimSpace(goCommand(t, "env", "GOROOT"))}}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Setenv("GOOS", "linux")
		t.Setenv("GOARCH", arch)
		t.Setenv("CGO_ENABLED", "0")
		for line := range strings.Lines(goCommand(t, "list", "-deps", "-f",
			"{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}} {{$.Dir}}{{end}}{{end}}",
			"hapressure/cmd/hapressure")) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			module, root := f[0], f[1]
			all = append(all, legal{module, root})
			for dir := f[2]; dir != root; dir = filepath.Dir(dir) {
				if len(legalFiles(t, dir)) > 0 {
					rel, _ := filepath.Rel(root, dir)
					all = append(all, legal{path.Join(module, rel), dir})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b legal) int { return strings.Compare(a.covers, b.covers) })
	return slices.Compact(all)
}

func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go %q: %v", args, err)
	}
	return string(out)
}

var legalName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)`)

func legalFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && legalName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// holder finds the holders of a copyright.
var holder = regexp.MustCompile(`(?im)^\s*copyright +((?:(?:\(c\)|©) )?\d{4}.*|© .*)$`)

// stanza adds the paragraph of a part and returns the name of its licence. Debian's
// packages refer to the text of the Apache License, and contain the others.
func stanza(t *testing.T, out *strings.Builder, part legal) string {
	t.Helper()
	var text, notice string
	for _, name := range legalFiles(t, part.dir) {
		content := strings.TrimSpace(read(t, filepath.Join(part.dir, name)))
		if strings.HasPrefix(strings.ToLower(name), "notice") {
			notice += content
		} else {
			text += content
		}
	}
	licence := licenceOf(text)
	if licence == "" {
		t.Errorf("the licence of %s in %s is missing or unknown", part.covers, part.dir)
	}
	holders := "the authors of " + part.covers
	if found := holder.FindAllStringSubmatch(text+"\n"+notice, -1); found != nil {
		var lines []string
		for _, m := range found {
			lines = append(lines, strings.TrimSpace(m[1]))
		}
		slices.Sort(lines)
		holders = strings.Join(slices.Compact(lines), "\n ")
	}
	fmt.Fprintf(out, "\nFiles: %s/*\nCopyright: %s\n", part.covers, holders)
	if notice != "" {
		fmt.Fprintf(out, "Comment:\n%s", paragraph(notice))
	}
	fmt.Fprintf(out, "License: %s\n", licence)
	if licence != "Apache-2.0" {
		out.WriteString(paragraph(text))
	}
	return licence
}

// paragraph formats the text of a field of several lines.
func paragraph(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}

// licenceOf returns the name that Debian's format has for a licence, or "".
func licenceOf(text string) string {
	has := func(phrase string) bool {
		return strings.Contains(strings.Join(strings.Fields(text), " "), phrase)
	}
	switch {
	case has("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"):
		return "Apache-2.0"
	case has("Permission is hereby granted") && has("Apache License, Version 2.0"):
		return "Expat and Apache-2.0"
	case has("Permission is hereby granted"):
		return "Expat"
	case has("Redistributions of source code must retain") && has("Neither the name of"):
		return "BSD-3-Clause"
	case has("Redistributions of source code must retain"):
		return "BSD-2-Clause"
	}
	return ""
}
