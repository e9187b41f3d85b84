package haproxytest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// binaryEnv names a HAProxy to test instead of the host's own.
const binaryEnv = "HAPRESSURE_HAPROXY"

// Releases are values of Config.Release that together cover HAProxy 2.6 to 3.2; only ""
// if a binary was given by HAPRESSURE_HAPROXY.
func Releases() []string {
	if os.Getenv(binaryEnv) != "" {
		return []string{""}
	}
	return []string{"bookworm", "trixie", "sid"}
}

// Sample are the releases for a test that finds little more with each further one: the
// newest, or all under HAPRESSURE_TESTS=all.
func Sample() []string {
	if os.Getenv("HAPRESSURE_TESTS") == "all" {
		return Releases()
	}
	return []string{Newest()}
}

// Newest is the youngest of Releases.
func Newest() string { return Releases()[len(Releases())-1] }

// install finds the HAProxy of a release: the program, and the root that it runs in, ""
// for the host's. A Debian suite's is unpacked into a cache, with its libraries, when
// it is first asked for. That needs root, mmdebstrap and a network.
func install(t testing.TB, release string) (root, program string) {
	t.Helper()
	if release == "" {
		if own := os.Getenv(binaryEnv); own != "" {
			return "", own
		}
		bin, err := exec.LookPath("haproxy")
		if err != nil {
			t.Fatalf("this test needs HAProxy (apt install haproxy): %v", err)
		}
		return "", bin
	}
	root, err := unpack(t, release)
	if err != nil {
		t.Fatalf("unpacking HAProxy of Debian %s (needs root, a network, and tests/guest/setup.sh run): %v", release, err)
	}
	return root, "/usr/sbin/haproxy"
}

// unpack returns the root with the HAProxy of a Debian suite: from the cache, or built
// into it.
func unpack(t testing.TB, suite string) (string, error) {
	// A frozen copy of an archive has an expired Release file.
	args := []string{"--quiet", "--variant=extract", "--include=haproxy",
		`--aptopt=Acquire::Check-Valid-Until "false"`, suite}
	recipe := sha256.Sum256(fmt.Append(nil, args))
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	root := filepath.Join(cache, "hapressure", fmt.Sprintf("haproxy-%s-%x", suite, recipe[:6]))
	return root, cached{
		dir: root,
		build: func(dir string) error {
			t.Logf("unpacking HAProxy of Debian %s into %s", suite, root)
			return buildRoot(dir, args)
		},
		check: checkRoot,
	}.ensure()
}

// buildRoot unpacks HAProxy and its libraries into dir, with the arguments of mmdebstrap.
func buildRoot(dir string, args []string) error {
	archive, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main").Output()
	uri, _, _ := strings.Cut(string(archive), "\n")
	if err != nil || uri == "" {
		return fmt.Errorf("asking apt for a Debian archive: found %q: %w", uri, err)
	}
	if said, err := exec.Command("mmdebstrap",
		append(args, dir, uri)...).CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, said)
	}
	if err := linkUsr(dir); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) // HAProxy's workers may run as another user
}

// linkUsr links /lib64 and its like to the folders in /usr. From trixie on only
// base-files has these links, which mmdebstrap does not unpack. Without /lib64 the
// kernel does not find the dynamic loader of any program.
func linkUsr(root string) error {
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if _, err := os.Lstat(filepath.Join(root, "usr", name)); err != nil {
			continue
		}
		err := os.Symlink(filepath.Join("usr", name), filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// checkRoot runs the HAProxy in root.
func checkRoot(root string) error {
	cmd := exec.Command("/usr/sbin/haproxy", "-v")
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("HAProxy in %s does not start: %w\n%s", root, err, said)
	}
	return nil
}
