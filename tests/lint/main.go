// Lint checks what gofmt, vet and staticcheck do not: widths of lines, words that
// the style of this project avoids, and the subjects of commits.
//
// What older files still have is counted in baseline.txt, for each folder and
// rule. A count above the baseline fails; -update lowers the baseline to the
// present counts and never raises it.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"go/scanner"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const baselineFile = "tests/lint/baseline.txt"

// A finding is a place that breaks a rule.
type finding struct {
	file string
	line int
	rule string // "width" or "word"
	text string
}

func (f finding) key() string { return path.Dir(f.file) + " " + f.rule }

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.file, f.line, f.rule, f.text)
}

func main() {
	update := flag.Bool("update", false, "lower the baseline to the present counts")
	flag.Parse()
	failed, err := lint(*update)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
	}
	if err != nil || failed {
		os.Exit(1)
	}
}

func lint(update bool) (failed bool, err error) {
	files, err := gitLines("ls-files", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return false, err
	}
	var found []finding
	for _, file := range files {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) { // removed, and not yet from the index
			continue
		} else if err != nil {
			return false, err
		}
		found = append(found, check(file, text)...)
	}
	allowed, err := readBaseline()
	if err != nil {
		return false, err
	}
	counts := map[string]int{}
	for _, f := range found {
		counts[f.key()]++
	}
	if update {
		return false, writeBaseline(allowed, counts)
	}
	for _, f := range found {
		if counts[f.key()] > allowed[f.key()] {
			failed = true
			fmt.Println(f)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		if counts[key] > allowed[key] {
			fmt.Printf("%s: %d findings, at most %d are allowed\n", key, counts[key], allowed[key])
		}
	}
	subjects, err := newSubjects()
	if err != nil {
		return failed, err
	}
	for _, s := range subjects {
		if why := checkSubject(s); why != "" {
			failed = true
			fmt.Printf("commit %q: %s\n", s, why)
		}
	}
	return failed, nil
}

// check returns what breaks a rule in one file. Generated files and fixtures have none.
func check(file string, text []byte) []finding {
	if strings.Contains(file, "testdata/") || strings.HasPrefix(file, "tests/lint/") {
		return nil
	}
	switch ext := path.Ext(file); {
	case ext == ".go":
		return append(checkWidths(file, text, "//"), checkGoWords(file, text)...)
	case ext == ".sh", ext == ".yaml", path.Base(file) == "Makefile":
		return append(checkWidths(file, text, "#"), checkWords(file, 1, string(text))...)
	case ext == ".md":
		return checkWords(file, 1, string(text)) // Markdown has one sentence a line
	}
	return nil
}

const (
	codeWidth    = 100
	commentWidth = 90
	tabWidth     = 4
)

// checkWidths counts a tab as four columns.
func checkWidths(file string, text []byte, comment string) []finding {
	var found []finding
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		width := utf8.RuneCountInString(line) + (tabWidth-1)*strings.Count(line, "\t")
		limit := codeWidth
		if strings.HasPrefix(strings.TrimSpace(line), comment) {
			limit = commentWidth
		}
		if width > limit {
			why := fmt.Sprintf("%d columns, at most %d", width, limit)
			found = append(found, finding{file, n, "width", why})
		}
	}
	return found
}

// avoided are words that stand for several things here, or for none exactly.
var avoided = regexp.MustCompile(`(?i)\b(whoever|whomever|anybody|nobody|somebody|everybody|` +
	`told|anew|glance[sd]?|let(s|ting)? go of|be had|takes? down)\b`)

// userNobody is the account of that name.
var userNobody = regexp.MustCompile("--user[= ]nobody|nobody:|\"nobody\"|`nobody`|user nobody")

func checkWords(file string, first int, text string) []finding {
	var found []finding
	n := first
	for line := range strings.Lines(text) {
		line = userNobody.ReplaceAllString(line, "")
		for _, word := range avoided.FindAllString(line, -1) {
			found = append(found, finding{file, n, "word", word})
		}
		n++
	}
	return found
}

// checkGoWords reads comments and string literals; identifiers are not prose.
func checkGoWords(file string, text []byte) []finding {
	var found []finding
	var s scanner.Scanner
	set := token.NewFileSet()
	position := set.AddFile(file, set.Base(), len(text))
	s.Init(position, text, nil, scanner.ScanComments)
	for {
		pos, tok, literal := s.Scan()
		switch tok {
		case token.EOF:
			return found
		case token.COMMENT, token.STRING:
			found = append(found, checkWords(file, position.Line(pos), literal)...)
		}
	}
}

// readBaseline reads lines of a folder, a rule and a count.
func readBaseline() (map[string]int, error) {
	text, err := os.ReadFile(baselineFile)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	allowed := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var folder, rule string
		var count int
		if _, err := fmt.Sscan(lines.Text(), &folder, &rule, &count); err != nil {
			return nil, fmt.Errorf("%s: reading %q: %w", baselineFile, lines.Text(), err)
		}
		allowed[folder+" "+rule] = count
	}
	return allowed, lines.Err()
}

// writeBaseline keeps the lower of both counts. Only the first baseline takes all.
func writeBaseline(allowed, counts map[string]int) error {
	var b strings.Builder
	first := len(allowed) == 0
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		count := counts[key]
		if !first {
			count = min(count, allowed[key])
		}
		if count > 0 {
			fmt.Fprintf(&b, "%s %d\n", key, count)
		}
	}
	return os.WriteFile(baselineFile, []byte(b.String()), 0o644)
}

// firstChecked is the last commit before subjects were checked.
const firstChecked = "cb8faa5d33c3b2e59a6c3639e2b075fcbd3baea5"

// newSubjects returns the subjects of the commits since the last tag, or else
// since the merge base with the main branch. A clone without that history has
// none to check.
func newSubjects() ([]string, error) {
	for _, base := range [][]string{
		{"describe", "--tags", "--abbrev=0"},
		{"rev-parse", "--verify", "--quiet", firstChecked + "^{commit}"},
		{"merge-base", "HEAD", "origin/main"},
	} {
		if found, err := gitLines(base...); err == nil && len(found) == 1 {
			return gitLines("log", "--no-merges", "--format=%s", found[0]+"..HEAD")
		}
	}
	fmt.Println("no history to check commits against")
	return nil, nil
}

const subjectWidth = 72

var subjectForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9/_.-]*(, [A-Za-z0-9/_.-]+)*: \S`)

// checkSubject returns why a commit's subject is not "package: do one thing".
func checkSubject(subject string) string {
	switch n := utf8.RuneCountInString(subject); {
	case n > subjectWidth:
		return fmt.Sprintf("%d columns, at most %d", n, subjectWidth)
	case !subjectForm.MatchString(subject):
		return "it does not have the form \"package: do one thing\""
	}
	return ""
}

func gitLines(args ...string) ([]string, error) {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), nil
}
