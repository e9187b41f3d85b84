package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/render"
)

// checkHost checks cgroup v2, memory and swap. checkRights finds what an old kernel
// lacks.
func checkHost(_ context.Context, e *exam) {
	if e.mountErr != nil {
		e.say(problem, "boot with systemd.unified_cgroup_hierarchy=1", "%v", e.mountErr)
	}
	memory, err := cgroup.Host(e.procfs)
	if err != nil {
		e.say(problem, "", "%v", err)
		return
	}
	e.say(fine, "", "%s of memory, %s", render.Size(memory.Total), e.swapText(memory.SwapTotal))
}

func (e *exam) swapText(total uint64) string {
	if total == 0 {
		return "no swap: page-out frees nothing"
	}
	text := render.Size(total) + " of swap"
	swaps, _ := os.ReadFile(filepath.Join(e.procfs, "swaps"))
	if strings.Contains(string(swaps), "/dev/zram") {
		text += ", some in zram, which keeps what is swapped out compressed in memory"
	}
	zswap, _ := os.ReadFile(filepath.Join(e.sysfs, "module/zswap/parameters/enabled"))
	if strings.HasPrefix(string(zswap), "Y") {
		text += " behind zswap, which keeps what is swapped out compressed in memory"
	}
	return text
}
