// Package golden compares what comes out with files that are kept. With -update tests
// write the files instead.
package golden

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false,
	"write the files that are compared with, rather than compare")

// Check compares a text with the file at path.
func Check(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not current (go test -update writes it)\ngot:\n%s\nwant:\n%s", path, got,
			want)
	}
}

// Section compares a text with a section of the file at path: what stands between the
// lines <!-- NAME --> and <!-- end of NAME -->.
func Section(t testing.TB, path, name, got string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, begins := strings.Cut(string(page), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Errorf("%s has no section %s", path, name)
		return
	}
	Check(t, path, before+begin+got+end+after)
}
