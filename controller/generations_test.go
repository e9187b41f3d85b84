package controller

import (
	"path/filepath"
	"testing"

	"hapressure/haproxy"
	"hapressure/policy"
)

// Workers have the numbers of the target that knows them, whatever other targets know;
// a younger one continues from the last number given.
func TestTakeGenerations(t *testing.T) {
	id := func(pid int) haproxy.ID { return haproxy.ID{PID: pid, Start: uint64(10 * pid)} }
	dir := t.TempDir()
	for target, known := range map[string]haproxy.Known{
		"haproxy.service": {Last: 9, Workers: []haproxy.KnownWorker{
			{ID: id(4), Generation: 3}, {ID: id(5), Generation: 7}, {ID: id(6)}}},
		"/other": {Workers: []haproxy.KnownWorker{{ID: id(8), Generation: 2}, {ID: haproxy.ID{PID: 5}, Generation: 1}}},
	} {
		newPersist(dir, target, storage{}).save(&policy.Policy{}, policy.State{}, known)
	}
	instance := func(pids ...int) (in haproxy.Instance) {
		for _, pid := range pids {
			in.Workers = append(in.Workers, haproxy.Worker{ID: id(pid), Generation: 40})
		}
		return in
	}
	for _, tt := range []struct {
		dir  string
		pids []int
		want []int
	}{
		{dir, []int{4, 5, 6, 7}, []int{3, 7, 10, 11}},
		{dir, []int{8, 9}, []int{2, 3}},
		{dir, []int{1, 2}, []int{1, 2}},
		{filepath.Join(dir, "none"), []int{4, 5}, []int{1, 2}},
	} {
		in := instance(tt.pids...)
		TakeGenerations(KnownWorkers(tt.dir), []haproxy.Instance{in})
		for i, w := range in.Workers {
			if w.Generation != tt.want[i] {
				t.Errorf("%v: worker %d has generation %d, want %d", tt.pids, w.PID,
					w.Generation, tt.want[i])
			}
		}
	}
}
