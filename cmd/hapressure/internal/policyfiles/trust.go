package policyfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"hapressure/input"
)

// OpenTrusted opens a file that only root, or the user of this process, can write.
func OpenTrusted(name string, limit int64) (*input.File, error) {
	f, err := input.Open(name, limit)
	if err != nil {
		return nil, err
	}
	if err := checkTrust(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkTrust fails if users other than root and that of this process can write or replace
// an open file: a policy decides what is done as root. If the name is a link, its target
// counts.
func checkTrust(f *input.File) error {
	file, err := f.Stat()
	folder := filepath.Dir(f.Name())
	dir, derr := os.Stat(folder)
	if err := errors.Join(err, derr); err != nil {
		return err
	}
	// Kubernetes makes the folder of a ConfigMap writable for all users, below a folder
	// that is closed to them. It is recognised by root's link ..data.
	link, err := os.Lstat(filepath.Join(folder, "..data"))
	configMap := err == nil && isOurs(link)
	name := f.Name()
	if isOurs(file) && !othersWrite(file) {
		if isOurs(dir) && (!othersWrite(dir) || dir.Mode()&fs.ModeSticky != 0 || configMap) {
			return nil
		}
		name = folder
	}
	return fmt.Errorf("other users can write %[1]s, and a policy decides what is done as root: "+
		"chown root: %[1]s && chmod go-w %[1]s", name)
}

func othersWrite(fi fs.FileInfo) bool { return fi.Mode().Perm()&0o022 != 0 }

func isOurs(fi fs.FileInfo) bool {
	uid := fi.Sys().(*syscall.Stat_t).Uid
	return uid == 0 || int(uid) == os.Geteuid()
}
