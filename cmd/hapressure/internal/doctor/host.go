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
	swaps, _ := os.ReadFile(filepath.Join(e.procfs, "swaps"))
	if err != nil {
		e.say(problem, "", "%v", err)
	} else if strings.Contains(string(swaps), "zram") {
		e.say(warning, "", "some swap is zram: page-out frees less than it writes")
	} else {
		e.say(fine, "", "%s of memory, %s of swap", render.Size(memory.Total),
			render.Size(memory.SwapTotal))
	}
}
