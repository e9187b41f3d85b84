package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"hapressure/policy"
)

const policyFile = "/etc/hapressure/policy.yaml"

// dropIns are the folders of drop-ins: of files of the same name the first counts.
var dropIns = []string{"/etc/hapressure/policy.d", "/run/hapressure/policy.d", "/usr/lib/hapressure/policy.d"}

// loadPolicy reads and decodes the given files, of which all but the first are drop-ins, or without any this system's.
func loadPolicy(names ...string) (*policy.Policy, []policy.File, error) {
	var files []policy.File
	var err error
	if len(names) > 0 {
		files, err = readAll(names)
	} else {
		files, err = systemFiles("/")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the policy: %w", err)
	}
	p, err := policy.DecodeFiles(files...)
	if err != nil {
		return nil, files, fmt.Errorf("the policy has mistakes:\n%w", err)
	}
	return p, files, nil
}

// origin tells in words what the policy of these files is.
func origin(files []policy.File) string {
	text := "the policy " + files[0].Name
	if files[0].Name == policy.BuiltIn.Name {
		text = "the built-in policy"
	}
	for _, f := range files[1:] {
		text += ", " + f.Name
	}
	return text
}

// systemFiles reads the policy of the system whose root folder is given: its file, or the built-in policy, and the drop-ins by name.
func systemFiles(root string) ([]policy.File, error) {
	files, err := readAll([]string{filepath.Join(root, policyFile)})
	if errors.Is(err, fs.ErrNotExist) {
		files, err = []policy.File{policy.BuiltIn}, nil
	}
	if err != nil {
		return nil, err
	}
	paths := map[string]string{} // by name
	for _, dir := range slices.Backward(dropIns) {
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
	drops, err := readAll(names)
	return append(files, drops...), err
}

func readAll(names []string) (files []policy.File, err error) {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, policy.File{Name: name, Text: text})
	}
	return files, nil
}
