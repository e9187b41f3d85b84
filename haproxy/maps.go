package haproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mapping is one line of /proc/PID/maps (proc_pid_maps(5)).
type Mapping struct {
	Start, End uint64 // addresses in the process; End is past the last byte
	Perms      string // as in the file: "rw-s"
	Offset     uint64
	Dev        string // "00:01"
	Inode      uint64
	Path       string // may be empty
}

// Len returns the mapping's length in bytes.
func (m Mapping) Len() uint64 { return m.End - m.Start }

// Shared reports whether the mapping is memory shared between processes and backed by no named file: what mmap(2) makes of
// MAP_SHARED|MAP_ANONYMOUS. The kernel backs it with an inode of its own, shown as /dev/zero (deleted), or by the name that
// PR_SET_VMA gave it.
func (m Mapping) Shared() bool {
	return m.Perms == "rw-s" && m.Offset == 0 && m.Inode != 0 &&
		(m.Path == "/dev/zero (deleted)" || strings.HasPrefix(m.Path, "[anon_shmem:"))
}

// file is the name by which /proc/PID/map_files gives access to the mapping's inode.
func (m Mapping) file() string { return fmt.Sprintf("map_files/%x-%x", m.Start, m.End) }

// ParseMaps reads a /proc/PID/maps.
func ParseMaps(r io.Reader) ([]Mapping, error) {
	var maps []Mapping
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		m, err := parseMapping(sc.Text())
		if err != nil {
			return nil, fmt.Errorf("parsing maps line %q: %w", sc.Text(), err)
		}
		maps = append(maps, m)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("reading maps: %w", err)
	}
	return maps, nil
}

func parseMapping(line string) (Mapping, error) {
	var m Mapping
	var f [5]string
	rest := line
	for i := range f {
		var ok bool
		f[i], rest, ok = strings.Cut(rest, " ")
		if !ok && i < 4 {
			return m, fmt.Errorf("%d fields, want at least 5", i+1)
		}
	}
	from, to, ok := strings.Cut(f[0], "-")
	if !ok {
		return m, errors.New("no address range")
	}
	var err error
	if m.Start, err = strconv.ParseUint(from, 16, 64); err != nil {
		return m, err
	}
	if m.End, err = strconv.ParseUint(to, 16, 64); err != nil {
		return m, err
	}
	if m.End <= m.Start {
		return m, errors.New("the range ends before it begins")
	}
	if len(f[1]) != 4 {
		return m, errors.New("permissions are not of four letters")
	}
	if m.Offset, err = strconv.ParseUint(f[2], 16, 64); err != nil {
		return m, err
	}
	if m.Inode, err = strconv.ParseUint(f[4], 10, 64); err != nil {
		return m, err
	}
	m.Perms, m.Dev, m.Path = f[1], f[3], strings.TrimLeft(rest, " ")
	return m, nil
}

func readMaps(procfs string, pid int) ([]Mapping, error) {
	f, err := os.Open(filepath.Join(procfs, strconv.Itoa(pid), "maps"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	maps, err := ParseMaps(f)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	return maps, err
}
