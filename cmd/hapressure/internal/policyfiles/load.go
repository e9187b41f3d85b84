// Package policyfiles loads the files of the policy, checks who can write them, and
// follows their changes.
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

// SystemFile is the policy of this host.
const SystemFile = "/etc/hapressure/policy.yaml"

// DropIns are the folders of drop-ins. Of several files with one name, the one in the
// first folder counts.
var DropIns = []string{"/etc/hapressure/policy.d", "/run/hapressure/policy.d",
	"/usr/lib/hapressure/policy.d"}

// Limit bounds the files of a policy together, in bytes. The built-in policy has 9 KiB.
const Limit = 1 << 20

// An opener opens a policy file that must not exceed limit bytes.
type opener func(name string, limit int64) (*input.File, error)

// Load reads and decodes the named files, of which all but the first are drop-ins;
// without names those of this host.
func Load(names ...string) (*policy.Policy, []language.File, error) {
	return load(input.OpenOrStdin, names)
}

// load is Load with an opener for the named files. The files of this host must always be
// trusted.
func load(open opener, names []string) (*policy.Policy, []language.File, error) {
	var files []language.File
	var err error
	if len(names) > 0 {
		files, err = readAll(open, names)
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

// Origin names the policy of files.
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

// systemFiles reads the policy of the host below root: its file or the built-in policy,
// and the drop-ins by name.
func systemFiles(root string) ([]language.File, error) {
	files, err := readAll(OpenTrusted, []string{filepath.Join(root, SystemFile)})
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
		// such a link masks
		if to, err := os.Readlink(paths[name]); err != nil || to != os.DevNull {
			names = append(names, paths[name])
		}
	}
	drops, err := readAll(OpenTrusted, names)
	return append(files, drops...), err
}

func readAll(open opener, names []string) (files []language.File, err error) {
	left := int64(Limit)
	for _, name := range names {
		text, err := read(open, name, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(text))
		files = append(files, language.File{Name: name, Text: text})
	}
	return files, nil
}

func read(open opener, name string, limit int64) ([]byte, error) {
	f, err := open(name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
