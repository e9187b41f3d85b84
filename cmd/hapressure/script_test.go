package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hapressure/cmd/hapressure/internal/policyfiles"
)

// TestMain makes this test program hapressure if it is called so.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hapressure": main})
}

// TestScripts runs testdata/script. Beside the commands of testscript there is "exits
// CODE COMMAND...", and the condition "root".
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); !errors.As(err, &exit) ||
					exit.ExitCode() != want {
					ts.Fatalf("%v, want exit code %d", err, want)
				}
			},
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			bin, err := exec.LookPath("hapressure")
			env.Setenv("BIN", filepath.Dir(bin))
			long := strings.Repeat("#\n", policyfiles.Limit)
			return errors.Join(err, os.WriteFile(filepath.Join(env.WorkDir, "long.yaml"),
				[]byte(long), 0o644))
		},
	})
}

// program returns the path of hapressure.
func program(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("hapressure")
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
