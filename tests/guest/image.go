package guest

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// recipe is all that goes into an image but Debian's packages.
//
//go:embed image.sh image
var recipe embed.FS

// prepare returns the folder of the image with a suite, architecture and packages:
// root.img, vmlinuz, initrd. An image is built under a temporary name, so one that has
// its name is whole.
func prepare(ctx context.Context, spec Spec, progress io.Writer) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	image := filepath.Join(cache, imageName(spec))
	unlock, err := lock(ctx, image+".lock")
	if err != nil {
		return "", fmt.Errorf("waiting for another to build %s: %w", image, err)
	}
	defer unlock()

	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	took := "about a minute"
	if spec.Arch != runtime.GOARCH {
		took = "some five minutes"
	}
	if progress == nil {
		progress = io.Discard
	}
	fmt.Fprintf(progress, "building the guest %s for %s, %s\n", spec.Suite, spec.Arch, took)
	building, err := os.MkdirTemp(cache, spec.Suite+"-building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(building)
	if err := build(ctx, spec, building, progress); err != nil {
		return "", fmt.Errorf("building the guest %s for %s: %w", spec.Suite, spec.Arch, err)
	}
	return image, os.Rename(building, image)
}

// imageName differs for images with different contents.
func imageName(spec Spec) string {
	name := spec.Suite + "-" + spec.Arch + "-" + recipeHash()
	if spec.Packages != "" {
		name += "-" + strings.ReplaceAll(spec.Packages, ",", "-")
	}
	return name
}

func cacheDir() (string, error) {
	dir := os.Getenv("HAPRESSURE_GUEST_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "hapressure", "guest")
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// recipeHash changes whenever an image built before should not be used any more.
func recipeHash() string {
	hash := sha256.New()
	err := fs.WalkDir(recipe, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := recipe.ReadFile(name)
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
		return err
	})
	if err != nil {
		panic(err) // the files are part of this program
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6])
}

// build runs image.sh from a copy, as the source need not be where the program runs.
func build(ctx context.Context, spec Spec, dir string, progress io.Writer) error {
	if _, err := tool("mmdebstrap"); err != nil {
		return err
	}
	source, err := os.MkdirTemp("", "guest-recipe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(source)
	if err := os.CopyFS(source, recipe); err != nil {
		return err
	}
	var said strings.Builder
	cmd := exec.CommandContext(ctx, "bash", filepath.Join(source, "image.sh"),
		spec.Suite, spec.Arch, dir, spec.Packages)
	cmd.Stdout = io.MultiWriter(progress, &said)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("image.sh: %w\n%s", err, lastLines(said.String(), 20))
	}
	return nil
}

// tool finds a program that setup.sh installs, also in the folders that only root's
// PATH has.
func tool(name string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: %w; run tests/guest/setup.sh as root", name, exec.ErrNotFound)
}

// lock takes an exclusive lock on the file at path, which ends with this process at the
// latest.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		for {
			err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		return func() { file.Close() }, nil
	case <-ctx.Done():
		go func() { // the lock may still be granted, and no caller waits for it
			<-locked
			file.Close()
		}()
		return nil, context.Cause(ctx)
	}
}
