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
)

// What is read of a configuration: the master that names its files may be anybody's.
const (
	configLimit = 64 << 20 // bytes, of all files together
	configMost  = 10_000   // files of a directory
)

// HardStopAfter returns what hard-stop-after is set to in the files that the instance's master was started with (-f); ok is false
// if none of them sets it. It is the setting of the files as they are now: a worker goes by what they held when it was started.
func HardStopAfter(procfs string, in Instance) (d time.Duration, ok bool, err error) {
	cmdline, err := readCmdline(procfs, in.Master.PID)
	if err != nil {
		return 0, false, fmt.Errorf("reading the command line of master %d: %w", in.Master.PID, err)
	}
	c := config{procfs: procfs, pid: in.Master.PID, left: configLimit}
	for _, name := range configArgs(cmdline) {
		if err := c.read(name, false); err != nil {
			return 0, false, fmt.Errorf("reading %.100q of master %d: %w", name, in.Master.PID, err)
		}
	}
	return c.hardStopAfter, c.set, nil
}

// configArgs collects what follows -f, and all that follows -- (doc/management.txt, 3).
func configArgs(cmdline []string) []string {
	var names []string
	for i := 1; i < len(cmdline); i++ {
		switch cmdline[i] {
		case "-f":
			if i++; i < len(cmdline) {
				names = append(names, cmdline[i])
			}
		case "--":
			return append(names, cmdline[i+1:]...)
		}
	}
	return names
}

// config is what is read of the configuration of a master.
type config struct {
	procfs        string
	pid           int
	left          int64 // bytes that may yet be read
	hardStopAfter time.Duration
	set           bool
}

// read reads a configuration file, or all *.cfg of a directory in the order of their names. Nothing is opened but a regular file that
// has a size: to open a device does something to it, and what the kernel makes up, as in /proc, is no configuration.
func (c *config) read(name string, inDir bool) error {
	at, err := openAs(c.procfs, c.pid, name)
	if err != nil {
		return err
	}
	defer at.Close()
	fi, err := at.Stat()
	switch {
	case err != nil:
		return err
	case inDir && fi.IsDir(), fi.Mode().IsRegular() && fi.Size() == 0:
		return nil
	case !fi.IsDir() && !fi.Mode().IsRegular():
		return errors.New("neither a file nor a directory")
	}
	f, err := os.OpenFile(fdPath(at), unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if !fi.IsDir() {
		return c.parse(f)
	}
	names, err := f.Readdirnames(configMost)
	if err == io.EOF {
		return nil
	}
	slices.Sort(names)
	for _, n := range names {
		if err == nil && strings.HasSuffix(n, ".cfg") && !strings.HasPrefix(n, ".") {
			err = c.read(filepath.Join(name, n), true)
		}
	}
	return err
}

func (c *config) parse(f io.Reader) error {
	r := &io.LimitedReader{R: f, N: c.left}
	d, ok, err := ParseHardStopAfter(r)
	if c.left = r.N; err == nil && c.left == 0 {
		err = fmt.Errorf("the configuration is larger than %d MiB", configLimit>>20)
	}
	if ok {
		c.hardStopAfter, c.set = d, true
	}
	return err
}

// openAs finds a file by the path that it has for a process: below its root directory, or its working directory if it is not absolute. A link in
// a container's file system leads nowhere else. What it returns is a place (O_PATH), not yet opened: see fdPath.
func openAs(procfs string, pid int, name string) (*os.File, error) {
	from := "cwd"
	if strings.HasPrefix(name, "/") {
		from = "root"
	}
	from = filepath.Join(procfs, strconv.Itoa(pid), from)
	dir, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", from, err)
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, name, &how)
	if err != nil {
		return nil, fmt.Errorf("opening %.100q in %s: %w", name, from, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ParseHardStopAfter finds the last hard-stop-after of a configuration file. A setting that depends on the environment or
// on a condition is an error: what it comes to is only known to HAProxy.
func ParseHardStopAfter(r io.Reader) (d time.Duration, ok bool, err error) {
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
		case "hard-stop-after": // a keyword of the global section, and of no other
			if len(f) < 2 || conditions > 0 {
				return 0, false, fmt.Errorf("parsing hard-stop-after in line %d: it depends on a condition, or has no value", n)
			}
			if d, err = parseTime(strings.Trim(f[1], `"'`)); err != nil {
				return 0, false, fmt.Errorf("parsing hard-stop-after in line %d: %.100w", n, err)
			}
			ok = true
		}
	}
	if err := sc.Err(); err != nil {
		return 0, false, err
	}
	return d, ok, nil
}

// parseTime reads a time of HAProxy's configuration: a number and a unit, without one milliseconds (doc/configuration.txt, 2.5).
func parseTime(s string) (time.Duration, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, err
	}
	unit, ok := map[string]time.Duration{"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second,
		"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[s[len(digits):]]
	if !ok {
		return 0, fmt.Errorf("%q has no known unit of time", s)
	}
	// HAProxy's timers are of 31 bits (src/tools.c, parse_time_err): it refuses what is longer.
	if n > uint64(math.MaxInt32*time.Millisecond/unit) {
		return 0, fmt.Errorf("%q is longer than HAProxy can wait", s)
	}
	return time.Duration(n) * unit, nil
}
