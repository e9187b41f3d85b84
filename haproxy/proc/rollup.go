package proc

import (
	"errors"
	"fmt"
	"strings"
)

// Rollup is a part of /proc/PID/smaps_rollup (proc_pid_smaps(5)), in bytes. The kernel
// walks all page tables of the process for it, and threads that change their mappings
// meanwhile wait. So it is not for each tick, and not for a process that serves.
type Rollup struct {
	HugePages uint64 // of private memory in RAM, that in transparent huge pages
	Swapped   uint64 // shared memory included
}

// Rollup reads /proc/PID/smaps_rollup.
func (p *Process) Rollup() (Rollup, error) {
	b, err := p.ReadFile("smaps_rollup")
	if err != nil {
		return Rollup{}, err
	}
	return parseRollup(b)
}

func parseRollup(b []byte) (r Rollup, err error) {
	fields := map[string]*uint64{"AnonHugePages": &r.HugePages, "Swap": &r.Swapped}
	for line := range strings.Lines(string(b)) {
		key, rest, _ := strings.Cut(line, ":")
		field := fields[key]
		if field == nil {
			continue
		}
		if *field, err = parseKB(strings.Fields(rest)); err != nil {
			return Rollup{}, fmt.Errorf("parsing smaps_rollup line %.100q: %w", line, err)
		}
		delete(fields, key)
	}
	if len(fields) > 0 {
		return Rollup{}, errors.New("parsing smaps_rollup: no AnonHugePages or Swap")
	}
	return r, nil
}
