package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// Shared reports whether the mapping is memory shared between processes and backed by no
// named file: what mmap(2) makes of MAP_SHARED|MAP_ANONYMOUS. The kernel backs it with an
// inode of its own, shown as /dev/zero (deleted), or by the name that PR_SET_VMA gave it.
func (m Mapping) Shared() bool {
	return m.Perms == "rw-s" && m.Offset == 0 && m.Inode != 0 &&
		(m.Path == "/dev/zero (deleted)" || strings.HasPrefix(m.Path, "[anon_shmem:"))
}

// PrivateAnonymous reports whether the mapping is memory of this process alone, without a
// file behind it, that cannot be executed: heap and stacks. What the kernel maps itself,
// such as [vdso], cannot be written.
func (m Mapping) PrivateAnonymous() bool { return m.Perms == "rw-p" && m.Inode == 0 }

// File returns the name of the file in /proc/PID that gives access to the mapping's
// inode.
func (m Mapping) File() string { return fmt.Sprintf("map_files/%x-%x", m.Start, m.End) }

// mapsMost bounds how many mappings of one process are returned. A process can make a
// million.
const mapsMost = 4096

// ReadMaps returns the mappings of a process for which keep returns true; more than
// mapsMost are an error. ErrGone: the process has ended.
func ReadMaps(procfs string, pid int, keep func(Mapping) bool) ([]Mapping, error) {
	f, err := os.Open(filepath.Join(procfs, strconv.Itoa(pid), "maps"))
	if err != nil {
		return nil, goneError(err)
	}
	defer f.Close()
	maps, err := parseMaps(f, keep)
	return maps, goneError(err)
}

// Maps returns the mappings of the process for which keep returns true. See ReadMaps.
func (p *Process) Maps(keep func(Mapping) bool) ([]Mapping, error) {
	maps, err := ReadMaps(p.procfs, p.PID, keep)
	if err != nil {
		return nil, fmt.Errorf("listing the mappings of pid %d: %w", p.PID, err)
	}
	return maps, nil
}

// Code returns a function that reports whether an address lies in the code of the
// process's own program.
func (p *Process) Code() (func(addr uint64) bool, error) {
	exe, err := os.Readlink(p.Path("exe")) // as in maps, with " (deleted)" after an upgrade
	if err != nil {
		return nil, fmt.Errorf("reading the program of pid %d: %w", p.PID, err)
	}
	code, err := p.Maps(func(m Mapping) bool { return m.Perms == "r-xp" && m.Path == exe })
	return func(addr uint64) bool {
		return slices.ContainsFunc(code, func(m Mapping) bool {
			return addr >= m.Start && addr < m.End
		})
	}, err
}

func parseMaps(r io.Reader, keep func(Mapping) bool) ([]Mapping, error) {
	var maps []Mapping
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		m, err := parseMapping(sc.Text())
		if err != nil {
			return nil, fmt.Errorf("parsing maps line %.100q: %w", sc.Text(), err)
		}
		if !keep(m) {
			continue
		}
		if maps = append(maps, m); len(maps) > mapsMost {
			return nil, fmt.Errorf("parsing maps: more than %d mappings of a kind", mapsMost)
		}
	}
	return maps, sc.Err()
}

// parseMapping parses a line of /proc/PID/maps.
//
//	7f16ba536000-7f16bbcdd000 rw-s 00000000 00:01 1024               /dev/zero (deleted)
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
	m.Perms, m.Dev, m.Path = f[1], f[3], strings.TrimLeft(rest, " ")
	var errs [4]error
	m.Start, errs[0] = strconv.ParseUint(from, 16, 64)
	m.End, errs[1] = strconv.ParseUint(to, 16, 64)
	m.Offset, errs[2] = strconv.ParseUint(f[2], 16, 64)
	m.Inode, errs[3] = strconv.ParseUint(f[4], 10, 64)
	switch err := errors.Join(errs[:]...); {
	case err != nil:
		return m, err
	case m.End <= m.Start:
		return m, errors.New("the range ends before it begins")
	case len(m.Perms) != 4:
		return m, errors.New("permissions are not of four letters")
	}
	return m, nil
}
