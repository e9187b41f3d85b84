package host

import (
	"errors"
	"io/fs"
	"os"
)

// ReplaceFile puts a file with a text in the place of name. A process that reads name,
// and one that reads it after a loss of power, finds the old text or the new one.
func ReplaceFile(name string, text []byte, perm fs.FileMode) error {
	tmp := name + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}
