package haproxytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachReleaseStarts(t *testing.T) {
	prefixes := map[string]string{"bookworm": "2.6.", "trixie": "3.0.", "sid": "3."}
	for _, release := range Releases() {
		t.Run("release "+release, func(t *testing.T) {
			if version := Version(t, release); !strings.HasPrefix(version, prefixes[release]) {
				t.Errorf("it is HAProxy %s, want %s*", version, prefixes[release])
			}
		})
	}
}

// A root without /lib64 is what mmdebstrap 1.5 makes of trixie.
func TestRootWithoutALoaderIsNotUsable(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the root of a release: left out under -short")
	}
	whole, err := unpack(t, "trixie")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "usr"),
		os.DirFS(filepath.Join(whole, "usr"))); err != nil {
		t.Fatal(err)
	}
	if err := checkRoot(root); err == nil {
		t.Error("it is taken for usable")
	}
	if err := linkUsr(root); err != nil {
		t.Fatal(err)
	}
	if err := checkRoot(root); err != nil {
		t.Error(err)
	}
}
