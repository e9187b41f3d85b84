package haproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

// Bounds of a configuration. Any user can run the process that names its files.
const (
	configLimit = 64 << 20 // bytes, of all files together
	configMost  = 10_000   // files of a directory
)

// HardStopAfter returns the setting of hard-stop-after in the files that the instance's
// master, or without one its youngest process, was started with (-f). ok is false if none
// of them sets it. It reads the files as they are now: a worker goes by what they
// contained at its start.
func HardStopAfter(procfs string, in Instance) (d time.Duration, ok bool, err error) {
	return readSetting(procfs, in, setting[time.Duration]{"hard-stop-after", parseTime})
}

// MaxReloads returns the setting of mworker-max-reloads, as HardStopAfter does: the
// number of reloads after which a master sends SIGTERM to a stopping worker. If it is not
// set, that is 50 from HAProxy 3.3 on, and before, a master never does (src/mworker.c,
// max_reloads).
func MaxReloads(procfs string, in Instance) (n int, ok bool, err error) {
	return readSetting(procfs, in, setting[int]{"mworker-max-reloads", strconv.Atoi})
}

// setting is a keyword of the global section, and of no other, with the parser of its
// value.
type setting[T any] struct {
	keyword string
	parse   func(string) (T, error)
}

func readSetting[T any](procfs string, in Instance, of setting[T]) (value T, ok bool, err error) {
	pid := in.leader().PID
	cmdline, err := readCmdline(procfs, pid)
	if err != nil {
		return value, false, fmt.Errorf("reading the command line of pid %d: %w", pid, err)
	}
	c := config{procfs: procfs, pid: pid, left: configLimit,
		parse: func(r io.Reader) error {
			v, found, err := of.in(r)
			if found {
				value, ok = v, true
			}
			return err
		}}
	for _, name := range parseArguments(cmdline).configs {
		if err := c.read(name); err != nil {
			return value, false, fmt.Errorf("reading %.100q of pid %d: %w", name, pid, err)
		}
	}
	return value, ok, nil
}

// config reads the files of the configuration of a process.
type config struct {
	procfs string
	pid    int
	left   int64                 // bytes that may still be read
	parse  func(io.Reader) error // gets one file after another
}

// read reads a configuration file, or all *.cfg of a directory in the order of their
// names.
func (c *config) read(name string) error {
	at, fi, err := c.find(name)
	if err != nil {
		return err
	}
	defer at.Close()
	if !fi.IsDir() {
		return c.readFile(at, fi)
	}
	dir, err := proc.Reopen(at, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(configMost)
	if err == io.EOF {
		return nil
	}
	slices.Sort(names)
	for _, n := range names {
		if err == nil && strings.HasSuffix(n, ".cfg") && !strings.HasPrefix(n, ".") {
			err = c.readEntry(filepath.Join(name, n))
		}
	}
	return err
}

// readEntry reads a file of a directory. It skips a directory in it.
func (c *config) readEntry(name string) error {
	at, fi, err := c.find(name)
	if err != nil {
		return err
	}
	defer at.Close()
	if fi.IsDir() {
		return nil
	}
	return c.readFile(at, fi)
}

// find finds a file by the path that it had for the process at its start. It does not
// open the file. A process without a master may have changed its root directory (chroot).
// Then the file is below that of its parent.
func (c *config) find(name string) (*os.File, os.FileInfo, error) {
	at, err := proc.OpenAt(c.procfs, c.pid, name)
	if errors.Is(err, os.ErrNotExist) && c.parent() != 0 {
		at, err = proc.OpenAt(c.procfs, c.parent(), name)
	}
	if err != nil {
		return nil, nil, err
	}
	fi, err := at.Stat()
	if err != nil {
		at.Close()
	}
	return at, fi, err
}

// parent returns the pid of the parent of the process if it has the same mount namespace;
// otherwise 0.
func (c *config) parent() int {
	st, err := proc.ReadStat(c.procfs, c.pid)
	if err != nil {
		return 0
	}
	own, err := proc.Namespace(c.procfs, c.pid, "mnt")
	if parent, perr := proc.Namespace(c.procfs, st.PPID, "mnt"); err != nil || perr != nil ||
		parent != own {
		return 0
	}
	return st.PPID
}

// readFile opens only a regular file that has a size. The open of a device has effects,
// and files that the kernel generates, as in /proc, are no configuration.
func (c *config) readFile(at *os.File, fi os.FileInfo) error {
	switch {
	case !fi.Mode().IsRegular():
		return errors.New("neither a file nor a directory")
	case fi.Size() == 0:
		return nil
	}
	f, err := proc.Reopen(at, unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer f.Close()
	r := &io.LimitedReader{R: f, N: c.left}
	err = c.parse(r)
	if c.left = r.N; err == nil && c.left == 0 {
		err = fmt.Errorf("the configuration is larger than %d MiB", configLimit>>20)
	}
	return err
}

// in finds the last value of the setting in a configuration file. One that depends on the
// environment or on a condition is an error: only HAProxy knows its value.
func (s setting[T]) in(r io.Reader) (value T, ok bool, err error) {
	var none T
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	conditions := 0
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case ".if":
			conditions++
		case ".endif":
			conditions--
		case s.keyword:
			if len(f) < 2 || conditions > 0 {
				return none, false, fmt.Errorf("parsing %s in line %d: "+
					"it depends on a condition, or has no value", s.keyword, n)
			}
			if value, err = s.parse(strings.Trim(f[1], `"'`)); err != nil {
				return none, false, fmt.Errorf("parsing %s in line %d: %.100w", s.keyword, n, err)
			}
			ok = true
		}
	}
	if err := sc.Err(); err != nil {
		return none, false, err
	}
	return value, ok, nil
}

// parseTime parses a time of HAProxy's configuration: a number and a unit, milliseconds
// without one (doc/configuration.txt, 2.5).
func parseTime(s string) (time.Duration, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, err
	}
	unit, ok := map[string]time.Duration{
		"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second,
		"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}[s[len(digits):]]
	if !ok {
		return 0, fmt.Errorf("%q has an unknown unit of time", s)
	}
	// HAProxy's timers have 31 bits (src/tools.c, parse_time_err): it refuses longer
	// times.
	if n > uint64(math.MaxInt32*time.Millisecond/unit) {
		return 0, fmt.Errorf("%q is longer than HAProxy can wait", s)
	}
	return time.Duration(n) * unit, nil
}
