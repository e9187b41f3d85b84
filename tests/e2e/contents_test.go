package e2e

import (
	"debug/buildinfo"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unpacked are the trees of the packages of amd64, with the folder of the licences.
func unpacked(t *testing.T) map[string]string {
	t.Helper()
	dir, trees := pack(t, "1"), t.TempDir()
	deb, rpm := filepath.Join(trees, "deb"), filepath.Join(trees, "rpm")
	for _, script := range []string{
		`dpkg-deb -x "$0"/*_amd64.deb "$1"`,
		`mkdir "$2"; rpm2cpio "$0"/*.x86_64.rpm | (cd "$2"; cpio -id --no-absolute-filenames)`,
	} {
		out, err := exec.Command("sh", "-ec", script, dir, deb, rpm).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	return map[string]string{
		deb: "/usr/share/doc/hapressure",
		rpm: "/usr/share/licenses/hapressure",
	}
}

// Every module of the shipped program is in the copyright file beside it.
func TestPackagesHoldNotices(t *testing.T) {
	for tree, licences := range unpacked(t) {
		info, err := buildinfo.ReadFile(filepath.Join(tree, "usr/bin/hapressure"))
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Deps) < 20 {
			t.Errorf("the program has %d modules", len(info.Deps))
		}
		text := read(t, filepath.Join(tree, licences, "copyright"))
		for _, module := range info.Deps {
			if !strings.Contains(text, "\nFiles: "+module.Path+"/*\n") {
				t.Errorf("%s does not contain %s", licences, module.Path)
			}
		}
	}
}

var installedLink = regexp.MustCompile(`\]\(([^)#\s]+)`)

// Every link of an installed page leads to an installed file.
func TestInstalledLinks(t *testing.T) {
	for tree := range unpacked(t) {
		doc := filepath.Join(tree, "usr/share/doc/hapressure")
		pages, err := filepath.Glob(filepath.Join(doc, "*.md"))
		if err != nil || len(pages) < 20 {
			t.Fatalf("pages are %q, %v", pages, err)
		}
		for _, page := range pages {
			for _, m := range installedLink.FindAllStringSubmatch(read(t, page), -1) {
				to := filepath.Join(doc, m[1])
				if filepath.IsAbs(m[1]) {
					to = filepath.Join(tree, m[1])
				}
				if _, err := os.Stat(to); err != nil && !strings.Contains(m[1], "://") {
					t.Errorf("%s: %v", filepath.Base(page), err)
				}
			}
		}
		for _, name := range []string{"README.md", "CHANGELOG.md"} {
			if _, err := fs.Stat(os.DirFS(doc), name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestRPMOwnsItsDirectoriesOnly(t *testing.T) {
	out, err := exec.Command("sh", "-ec",
		`rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$0"/*.x86_64.rpm`,
		pack(t, "1")).Output()
	if err != nil {
		t.Fatal(err)
	}
	owned := 0
	for line := range strings.Lines(string(out)) {
		mode, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(mode, "d") {
			owned++
			if !strings.Contains(name+"/", "/hapressure/") {
				t.Errorf("the rpm owns %s", name)
			}
		}
	}
	if owned < 5 {
		t.Errorf("the rpm owns %d directories:\n%s", owned, out)
	}
}
