package policy

import "testing"

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 workers": Count(0, "worker"), "1 worker": Count(1, "worker"),
		"2 entries": Count(2, "entry"), "1 entry": Count(uint64(1), "entry"),
		"3 processes": Count(3, "process"), "1.5 reloads": Count(1.5, "reload"),
		"1000000 days": Count(1_000_000, "day"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
