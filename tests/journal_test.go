package tests

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hapressure/policy"
	"hapressure/systemd"
)

var fieldName = regexp.MustCompile(`\bHAPRESSURE_[A-Z][A-Z_]+\b`)

// docs/logging.md is a promise: it has every kind of entry and every field, and none that there is not.
func TestJournalIsDocumented(t *testing.T) {
	doc := read(t, "../docs/logging.md")
	var fields []string
	for _, pattern := range []string{"../controller/*.go", "../systemd/*.go", "../cmd/hapressure/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				fields = append(fields, fieldName.FindAllString(read(t, name), -1)...)
			}
		}
	}
	if got, want := sortedMatches(doc, `(?m)^\| (HAPRESSURE_\w+) \|`), set(fields); !slices.Equal(got, want) {
		t.Errorf("fields in the table are %q, want %q", got, want)
	}
	var limited, rows []string
	names := constants(t)
	for _, name := range strings.Split(regexp.MustCompile(`repeating = \[\]string{(.*)}`).FindStringSubmatch(read(t, "../systemd/ratelimit.go"))[1], ", ") {
		limited = append(limited, names[name])
	}
	for id, kind := range systemd.Kinds {
		rows = append(rows, kind+" | "+id)
		if often := regexp.MustCompile(id + ` \| \w+ \| (\w+) \|`).FindStringSubmatch(doc); often != nil && slices.Contains(limited, id) != (often[1] == "limited") {
			t.Errorf("%s is told %s", kind, often[1])
		}
	}
	if got := sortedMatches(doc, `(?m)^\| ([a-z-]+ \| [0-9a-f]{32}) \|`); !slices.Equal(got, set(rows)) {
		t.Errorf("kinds in the table are %q, want %q", got, set(rows))
	}
	if named := slices.Sorted(maps.Keys(systemd.Kinds)); !slices.Equal(named, messageIDs(t)) {
		t.Errorf("systemd.Kinds has names for %q, want %q", named, messageIDs(t))
	}
	for _, name := range append(policy.Kinds, string(policy.Done), string(policy.Refused), string(policy.Failed), string(policy.Skipped)) {
		if !strings.Contains(doc, name) {
			t.Errorf("%s is not there", name)
		}
	}
	for _, catalog := range fieldName.FindAllString(read(t, "../packaging/hapressure.catalog"), -1) {
		if !slices.Contains(fields, catalog) {
			t.Errorf("the catalog has a field %s that nothing sends", catalog)
		}
	}
}

// Each function of events.go makes entries of some kinds with some fields: the rows of those kinds have the same.
func TestJournalFieldsOfEachKind(t *testing.T) {
	doc := strings.ReplaceAll(read(t, "../docs/logging.md"), "as of an action", regexp.MustCompile(`\| action .* \| (.*) \|`).
		FindStringSubmatch(read(t, "../docs/logging.md"))[1])
	names := constants(t)
	seen := 0
	for _, function := range strings.Split(read(t, "../controller/events.go"), "\nfunc ") {
		var want []string
		for _, name := range fieldName.FindAllString(function, -1) {
			want = append(want, strings.TrimPrefix(name, "HAPRESSURE_"))
		}
		for _, m := range regexp.MustCompile(`systemd\.(\w+)`).FindAllStringSubmatch(function, -1) {
			id, ok := names[m[1]]
			if !ok {
				continue
			}
			seen++
			row := regexp.MustCompile(id + ` \| .* \| (.*) \|`).FindStringSubmatch(doc)
			if row == nil {
				t.Errorf("%s has no row", m[1])
			} else if got := set(strings.Split(row[1], ", ")); !slices.Equal(got, set(want)) {
				t.Errorf("%s: the row has %q, want %q", m[1], got, set(want))
			}
		}
	}
	if seen < 8 {
		t.Errorf("%d kinds found in events.go", seen)
	}
}

// constants are the message ids by their names in systemd/journal.go.
func constants(t *testing.T) map[string]string {
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+) = "([0-9a-f]{32})"$`).FindAllStringSubmatch(read(t, "../systemd/journal.go"), -1) {
		names[m[1]] = m[2]
	}
	return names
}

func set(all []string) []string { return slices.Compact(slices.Sorted(slices.Values(all))) }

// messageIDs are those of systemd/journal.go.
func messageIDs(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("../systemd/journal.go")
	if err != nil {
		t.Fatal(err)
	}
	return sortedMatches(string(source), `(?m)^\t\w+ = "([0-9a-f]{32})"$`)
}

func sortedMatches(text, expr string) []string {
	var found []string
	for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return found
}

func TestCatalogExplainsEveryMessage(t *testing.T) {
	catalog, err := os.ReadFile("../packaging/hapressure.catalog")
	if err != nil {
		t.Fatal(err)
	}
	ids := messageIDs(t)
	if len(ids) == 0 {
		t.Fatal("no MESSAGE_ID found")
	}
	if explained := sortedMatches(string(catalog), `(?m)^-- ([0-9a-f]{32})$`); !slices.Equal(explained, ids) {
		t.Errorf("explained are %q, want %q", explained, ids)
	}
	for _, entry := range strings.Split(string(catalog), "\n-- ")[1:] {
		head, text, _ := strings.Cut(entry, "\n\n")
		if !strings.Contains(head, "\nSubject: ") || len(strings.TrimSpace(text)) < 40 {
			t.Errorf("this says too little: %s", entry)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
