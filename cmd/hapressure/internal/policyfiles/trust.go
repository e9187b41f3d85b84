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

// checkTrust fails if others than root, or we ourselves, can write an open file or put another one in its place: a policy decides what is done
// as root. Of a link, the file that it leads to counts.
func checkTrust(f *input.File) error {
	file, err := f.Stat()
	folder := filepath.Dir(f.Name())
	dir, derr := os.Stat(folder)
	if err := errors.Join(err, derr); err != nil {
		return err
	}
	// Kubernetes makes the folder of a ConfigMap for everybody to write, below one that is closed. Root's link ..data in it tells.
	link, err := os.Lstat(filepath.Join(folder, "..data"))
	configMap := err == nil && isOurs(link)
	name := f.Name()
	if isOurs(file) && !othersWrite(file) {
		if isOurs(dir) && (!othersWrite(dir) || dir.Mode()&fs.ModeSticky != 0 || configMap) {
			return nil
		}
		name = folder
	}
	return fmt.Errorf("others can write %[1]s, and a policy decides what is done as root: chown root: %[1]s && chmod go-w %[1]s", name)
}

func othersWrite(fi fs.FileInfo) bool { return fi.Mode().Perm()&0o022 != 0 }

func isOurs(fi fs.FileInfo) bool {
	uid := fi.Sys().(*syscall.Stat_t).Uid
	return uid == 0 || int(uid) == os.Geteuid()
}
