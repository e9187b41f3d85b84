package render

import (
	"fmt"
	"strings"
	"testing"

	"hapressure/cmd/hapressure/internal/statustest"
	"hapressure/controller/status"
	"hapressure/tests/golden"
)

func TestWorkersInDetail(t *testing.T) {
	m := statustest.Storm("haproxy.service", 5).Masters[0]
	for i := range m.Workers[:4] {
		m.Workers[i].Detail = &status.Detail{HTTPCaches: new(uint64(2 << 20)),
			HugePages: new(uint64(16 << 20)), PoolsHeld: new(uint64(9 << 20)),
			PoolsUsed: new(uint64(1 << 20)), Contents: &status.Contents{MapEntries: 1_400_000,
				ACLEntries: 12, Largest: "/etc/haproxy/hosts.map", LargestEntries: 1_399_000,
				Certificates: 5000, Backends: 1, Servers: 30}}
	}
	m.Workers[1].Detail.Contents = &status.Contents{Certificates: 1}
	m.Workers[2].Detail = &status.Detail{MemoryError: "process is gone",
		QuestionsError: "it has not answered an earlier question"}
	m.Workers[4].State, m.Workers[4].Proof = "unknown", "its turn to be examined has not come yet"
	held := statustest.Storm("haproxy.service", 5).Stopping
	for _, width := range []int{0, 80, 130} {
		var b strings.Builder
		err := Workers(&b, Screen{Width: width}, []status.Master{m}, []status.LeftOut{{PID: 7,
			Program: "/usr/bin/haproxy-wi", Why: "it is a child of HAProxy 811"}}, held)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, fmt.Sprintf("testdata/workers-detail-%d.txt", width), b.String())
		wantWidth(t, b.String(), width)
	}
}
