package haproxy

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hapressure/haproxy/proc"
)

// Which processes run HAProxy.
//
// Distributions and users rename HAProxy (hapee-lb, haproxy-2.8), and any program can be
// called haproxy. So a process is recognised by its executable: the initcalls of HAProxy
// lie in sections of their own, whose names strip(1) keeps (include/haproxy/initcall.h;
// not with USE_OBSOLETE_LINKER). /proc/PID/exe leads to the file also if it was deleted
// or lies in another mount namespace.
//
// A file system without a server can delay the open of an executable for ever. A process
// whose executable cannot be read now is recognised by the name of the file.

// initcalls are the names of the section of HAProxy's initcalls that register keywords:
// from 2.4 on, and before.
var initcalls = []string{"i_STG_REGISTER", "init_STG_REGISTER"}

// Bounds of recognition.
const (
	namesMost     = 64 << 10 // bytes of an executable's section names; HAProxy has some 400
	programsMost  = 1 << 16  // processes that are remembered
	programTime   = 200 * time.Millisecond
	programsTime  = 2 * time.Second // of all in one call
	programsRetry = time.Minute     // of an executable that could not be read
	programsHung  = 16              // reads that have not returned
)

// Programs recognises the processes that run HAProxy, and remembers its answers. It is
// for one goroutine.
type Programs struct {
	procfs string
	known  map[ID]program
	reads  proc.Turnstile
}

// program is what is known of the executable of a process.
type program struct {
	path      string // execve(2) leads to another one
	isHAProxy bool
	retry     time.Time // if it could not be read
}

// NewPrograms makes a Programs that reads the proc file system mounted at procfs.
func NewPrograms(procfs string) *Programs {
	return &Programs{procfs, map[ID]program{}, make(proc.Turnstile, programsHung)}
}

// Any reports whether one of the processes runs HAProxy, or is called haproxy and hides
// its program.
func (ps *Programs) Any(ctx context.Context, pids []int) bool {
	ctx, cancel := context.WithTimeout(ctx, programsTime)
	defer cancel()
	for _, pid := range pids {
		p, err := readProcess(ps.procfs, pid)
		if err == nil && ps.runHAProxy(ctx, p) || errors.Is(err, os.ErrPermission) {
			return true
		}
	}
	return false
}

// runHAProxy reports whether a process runs HAProxy.
func (ps *Programs) runHAProxy(ctx context.Context, p process) bool {
	known, ok := ps.known[p.ID]
	if ok && known.path == p.exe && (known.retry.IsZero() || time.Now().Before(known.retry)) {
		return known.isHAProxy
	}
	known = program{path: p.exe}
	short, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	var err error
	known.isHAProxy, err = proc.Through(short, ps.reads, func() (bool, error) {
		f, err := os.Open(filepath.Join(ps.procfs, strconv.Itoa(p.PID), "exe"))
		if err != nil {
			return false, err
		}
		defer f.Close()
		return hasMark(f)
	})
	if err != nil {
		known.isHAProxy, known.retry = isNamed(p.exe), time.Now().Add(programsRetry)
	}
	if len(ps.known) >= programsMost {
		clear(ps.known)
	}
	ps.known[p.ID] = known
	return known.isHAProxy
}

// isNamed reports whether an executable has the name of HAProxy or HAProxy Enterprise.
func isNamed(path string) bool {
	name := filepath.Base(path)
	return strings.HasPrefix(name, "haproxy") || strings.HasPrefix(name, "hapee")
}

// hasMark reports whether an executable has a section named in initcalls. It reads the
// header and the names of the sections: a file that claims to have more than namesMost
// bytes of them, or that is of another kind than HAProxy's own machine, has none.
func hasMark(f io.ReaderAt) (bool, error) {
	var head elf.Header64
	if err := readAt(f, 0, &head); err != nil {
		return false, noneIfShort(err)
	}
	if string(head.Ident[:4]) != elf.ELFMAG || head.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) ||
		head.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return false, nil
	}
	var names elf.Section64
	at := head.Shoff + uint64(head.Shstrndx)*uint64(head.Shentsize)
	if err := readAt(f, at, &names); err != nil {
		return false, noneIfShort(err)
	}
	text := make([]byte, min(names.Size, namesMost))
	if err := readAt(f, names.Off, text); err != nil {
		return false, noneIfShort(err)
	}
	return slices.ContainsFunc(initcalls, func(name string) bool {
		return bytes.Contains(text, []byte(name+"\x00"))
	}), nil
}

// readAt reads data of a fixed size.
func readAt(f io.ReaderAt, at uint64, data any) error {
	if at > 1<<62 {
		return io.ErrUnexpectedEOF
	}
	r := io.NewSectionReader(f, int64(at), int64(binary.Size(data)))
	return binary.Read(r, binary.LittleEndian, data)
}

// noneIfShort returns no error for a file that ends too early: it is no executable of
// HAProxy.
func noneIfShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
