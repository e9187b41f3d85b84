package haproxytest

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// Lookalike copies a program, gives the copy the section by which hapressure recognises
// HAProxy, and returns its path. name is that of the copy.
func Lookalike(t testing.TB, program, name string) string {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	// The build's id is of no use to a program that runs.
	names := f.Section(".shstrtab")
	for _, id := range []string{".note.gnu.build-id\x00", ".note.go.buildid\x00"} {
		text := b[names.Offset:][:names.Size]
		if i := bytes.Index(text, []byte(id)); i >= 0 {
			copy(text[i:], "i_STG_REGISTER\x00")
		}
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
