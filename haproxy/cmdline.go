package haproxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

// Bounds of what is remembered of each process. A process can make its command line as
// long as its memory, and there can be a thousand of them.
const (
	cmdlineMost = 128 << 10 // bytes; HAProxy with 1,000 pids has some 8,000
	oldMost     = 1024      // pids after -sf and -st
)

var errLongCmdline = fmt.Errorf("it is longer than %d bytes", cmdlineMost)

// arguments are the parts of HAProxy's command line that matter here.
type arguments struct {
	configs      []string    // files and directories, in their order
	masterWorker bool        // -W or -Ws; the keyword master-worker does the same
	checks       bool        // it prints or checks something, and exits: -c, -cc, -v
	old          []int       // pids to stop when it serves (-sf, -st), in its own pid namespace
	signal       unix.Signal // with which it stops them
}

// parseArguments parses a command line as HAProxy does (src/haproxy.c, init_args). Of a
// command line that HAProxy refuses it returns what comes before.
func parseArguments(cmdline []string) arguments {
	a := arguments{signal: unix.SIGUSR1}
	rest := cmdline[min(1, len(cmdline)):]
	for len(rest) > 0 {
		flag, isFlag := strings.CutPrefix(rest[0], "-")
		rest = rest[1:]
		if !isFlag {
			return a
		}
		switch {
		case flag == "-":
			a.configs = append(a.configs, rest...)
			return a
		case strings.HasPrefix(flag, "sf"), strings.HasPrefix(flag, "st"):
			n := untilFlag(rest)
			a.stop(flag, rest[:n])
			rest = rest[n:]
		case strings.HasPrefix(flag, "dt"): // traces; their arguments may follow
			rest = rest[min(1, untilFlag(rest)):]
		case strings.HasPrefix(flag, "v"), strings.HasPrefix(flag, "c"):
			a.checks = true
		case strings.HasPrefix(flag, "W"):
			a.masterWorker = true
		case flag != "" && strings.Contains("dDVq4", flag[:1]):
		case len(rest) == 0:
			return a
		default:
			if strings.HasPrefix(flag, "f") {
				a.configs = append(a.configs, rest[0])
			}
			rest = rest[1:]
		}
	}
	return a
}

// untilFlag returns the number of arguments before the next one that begins with a dash.
func untilFlag(args []string) int {
	n := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if n < 0 {
		return len(args)
	}
	return n
}

// stop parses what follows -sf or -st. The last of them decides the signal for all.
func (a *arguments) stop(flag string, pids []string) {
	a.signal = unix.SIGUSR1
	if strings.HasPrefix(flag, "st") {
		a.signal = unix.SIGTERM
	}
	for _, text := range pids {
		pid, err := strconv.Atoi(strings.TrimSpace(text))
		if err == nil && pid > 0 && len(a.old) < oldMost {
			a.old = append(a.old, pid)
		}
	}
}

// readArguments reads the command line of a process, through its Turnstile. A master that
// has executed itself shows in its environment that it is one. ErrGone: the process has
// ended, or is in the middle of execve(2).
func readArguments(ctx context.Context, procfs string, pid int, reads proc.Turnstile) (
	arguments, error) {
	return proc.Through(ctx, reads, func() (arguments, error) {
		cmdline, err := readCmdline(procfs, pid)
		if err != nil {
			return arguments{}, err
		}
		env, err := proc.ReadFile(procfs, pid, "environ")
		if err != nil {
			return arguments{}, err
		}
		a := parseArguments(cmdline)
		for v := range bytes.SplitSeq(env, []byte{0}) {
			a.masterWorker = a.masterWorker || bytes.HasPrefix(v, []byte("HAPROXY_MWORKER"))
		}
		return a, nil
	})
}

// readCmdline reads the command line of a process. ErrGone: it has none, as in the middle
// of execve(2). errLongCmdline: it is longer than HAProxy's can be expected to be.
func readCmdline(procfs string, pid int) ([]string, error) {
	b, err := proc.ReadFile(procfs, pid, "cmdline")
	if err != nil || len(b) == 0 {
		return nil, ErrGone
	}
	if len(b) > cmdlineMost {
		return nil, errLongCmdline
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}
