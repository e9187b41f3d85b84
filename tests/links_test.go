package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	anchorID = regexp.MustCompile(`<a id="([^"]+)">`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Every link between documents leads to a file, and to a heading of that file if it
// names one.
func TestLinksInDocuments(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md",
		"../SECURITY.md") {
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			to := file
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(file), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", file, err)
			} else if m[2] != "" && !slices.Contains(anchors(t, to), m[2]) {
				t.Errorf("%s: %s has no heading for #%s", file, to, m[2])
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links found", links)
	}
}

// anchors are the names of a document's headings in links, as GitHub makes them.
func anchors(t *testing.T, file string) []string {
	t.Helper()
	text := read(t, file)
	var ids []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		id := noAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		ids = append(ids, strings.ReplaceAll(id, " ", "-"))
	}
	for _, m := range anchorID.FindAllStringSubmatch(text, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// fileName finds names of files of this repository in documents: `haproxy/prove.go`, or
// `prove.go` alone.
var fileName = regexp.MustCompile("`((?:[\\w-]+/)*[\\w-]+\\.(?:go|sh|yaml|html|txt))`")

// Every file of this repository that a document names exists. A name without its folder
// is somewhere in the tree, and a path begins at the top or below haproxy.
func TestFilesNamedInDocuments(t *testing.T) {
	var all []string
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md") {
		for _, m := range fileName.FindAllStringSubmatch(read(t, file), -1) {
			named := func(path string) bool {
				if strings.Contains(m[1], "/") {
					return path == "../"+m[1] || path == "../haproxy/"+m[1]
				}
				return filepath.Base(path) == m[1]
			}
			if !slices.ContainsFunc(all, named) && !slices.Contains(readersOwn, m[1]) {
				t.Errorf("%s names %s, which does not exist", file, m[1])
			}
		}
	}
}

// readersOwn are files that a reader makes.
var readersOwn = []string{"policy.yaml", "site.yaml", "mine.yaml", "other.yaml"}

// whereRow finds a row of the table "Where is ...?" in docs/architecture.md.
var whereRow = regexp.MustCompile("(?m)^\\| .*\\? \\| `([^`]+)` \\| `([^`]+)` \\|$")

// Every file in the table "Where is ...?" contains the name beside it.
func TestWhereTable(t *testing.T) {
	rows := whereRow.FindAllStringSubmatch(read(t, "../docs/architecture.md"), -1)
	for _, m := range rows {
		if !strings.Contains(read(t, "../"+m[1]), m[2]) {
			t.Errorf("%s does not contain %s", m[1], m[2])
		}
	}
	if len(rows) < 10 {
		t.Errorf("%d rows found", len(rows))
	}
}
