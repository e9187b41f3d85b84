package policyfiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"hapressure/input"
	"hapressure/policy"
	"hapressure/policy/language"
)

const SystemFile = "/etc/hapressure/policy.yaml"

// DropIns are the folders of drop-ins: of files of the same name the first counts.
var DropIns = []string{"/etc/hapressure/policy.d", "/run/hapressure/policy.d", "/usr/lib/hapressure/policy.d"}

// Limit bounds the files of a policy together, in bytes. The built-in policy has 9 KiB.
const Limit = 1 << 20

// Load reads and decodes the given files, of which all but the first are drop-ins, or without any this system's.
func Load(names ...string) (*policy.Policy, []language.File, error) { return load(names, false) }

// load is loadPolicy. Files that are to come into force must be trusted, as this system's always must.
func load(names []string, trusted bool) (*policy.Policy, []language.File, error) {
	var files []language.File
	var err error
	if len(names) > 0 {
		files, err = readAll(names, trusted)
	} else {
		files, err = systemFiles("/")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the policy: %w", err)
	}
	p, err := language.Decode(files...)
	if err != nil {
		return nil, files, fmt.Errorf("the policy has mistakes:\n%w", err)
	}
	return p, files, nil
}

// Origin tells in words what the policy of these files is.
func Origin(files []language.File) string {
	text := "the policy " + files[0].Name
	if files[0].Name == language.BuiltIn.Name {
		text = "the built-in policy"
	}
	for _, f := range files[1:] {
		text += ", " + f.Name
	}
	return text
}

// systemFiles reads the policy of the system whose root folder is given: its file, or the built-in policy, and the drop-ins by name.
func systemFiles(root string) ([]language.File, error) {
	files, err := readAll([]string{filepath.Join(root, SystemFile)}, true)
	if errors.Is(err, fs.ErrNotExist) {
		files, err = []language.File{language.BuiltIn}, nil
	}
	if err != nil {
		return nil, err
	}
	paths := map[string]string{} // by name
	for _, dir := range slices.Backward(DropIns) {
		found, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			paths[filepath.Base(path)] = path
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if to, err := os.Readlink(paths[name]); err != nil || to != os.DevNull { // such a link masks
			names = append(names, paths[name])
		}
	}
	drops, err := readAll(names, true)
	return append(files, drops...), err
}

func readAll(names []string, trusted bool) (texts []language.File, err error) {
	left := int64(Limit)
	for _, name := range names {
		text, err := readPolicy(name, left, trusted)
		if err != nil {
			return nil, err
		}
		left -= int64(len(text))
		texts = append(texts, language.File{Name: name, Text: text})
	}
	return texts, nil
}

func readPolicy(name string, limit int64, trusted bool) ([]byte, error) {
	open := input.OpenOrStdin
	if trusted {
		open = input.Open
	}
	f, err := open(name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if trusted {
		if err := checkTrust(f); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(f)
}
