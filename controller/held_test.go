package controller

import (
	"testing"

	"hapressure/controller/status"
)

func TestHeldByStopping(t *testing.T) {
	worker := func(state string, cache *uint64) status.Worker {
		return status.Worker{State: state, Cache: cache, Shared: new(uint64(300)),
			Private: new(uint64(50)), Swapped: new(uint64(20)), Kernel: new(uint64(7)),
			MappedFiles: new(uint64(1)), OpenFiles: new(5)}
	}
	got := HeldByStopping([]status.Master{
		{Workers: []status.Worker{worker("stopping", new(uint64(200))), worker("current", nil)}},
		{Workers: []status.Worker{worker("stopping", nil), worker("unknown", nil),
			{State: "stopping", SizeError: "gone"}}},
	})
	want := status.Memory{Workers: 3, Cache: 200, OtherShared: 400, Private: 100, Swapped: 40,
		Kernel: 14, OpenFiles: 10, Incomplete: true}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
