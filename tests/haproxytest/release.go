package haproxytest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// binaryEnv names a HAProxy to test instead of the host's own.
const binaryEnv = "HAPRESSURE_HAPROXY"

// Releases are values of Config.Release that together cover HAProxy 2.6 to 3.2; only "" if a binary was given by HAPRESSURE_HAPROXY.
func Releases() []string {
	if os.Getenv(binaryEnv) != "" {
		return []string{""}
	}
	return []string{"bookworm", "trixie", "sid"}
}

// install finds the HAProxy of a release: the program, and the root that it runs in, "" for the host's. A Debian suite's is unpacked
// into a cache, with its libraries, when it is first asked for. That needs root, mmdebstrap and a network.
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

func unpack(t testing.TB, suite string) (string, error) {
	// A frozen copy of an archive has an expired Release file. The hook makes /lib64, without which no program starts.
	args := []string{"--quiet", "--variant=extract", "--include=haproxy", `--aptopt=Acquire::Check-Valid-Until "false"`,
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", suite}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "hapressure")
	root := filepath.Join(cache, fmt.Sprintf("haproxy-%s-%x", suite, sha256.Sum256(fmt.Append(nil, args)))[:len("haproxy--")+len(suite)+12])
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	building, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(building)
	archive, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main").Output()
	uri, _, _ := strings.Cut(string(archive), "\n")
	if err != nil || uri == "" {
		return "", fmt.Errorf("asking apt for a Debian archive: found %q: %w", uri, err)
	}
	t.Logf("unpacking HAProxy of Debian %s into %s", suite, root)
	cmd := exec.Command("mmdebstrap", append(args, building, uri)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, said)
	}
	if err := os.Chmod(building, 0o755); err != nil { // HAProxy's workers may run as another user
		return "", err
	}
	err = os.Rename(building, root)
	if _, serr := os.Stat(root); serr == nil {
		return root, nil // another process may have been quicker
	}
	return root, err
}
