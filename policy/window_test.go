package policy

import (
	"math"
	"testing"
	"time"
)

// TestWindowAtManyTicks asserts that frequent ticks neither lengthen the window by more
// than a part nor make it forget.
func TestWindowAtManyTicks(t *testing.T) {
	n := &ConditionState{}
	const window = 10 * time.Second
	for now := time.Duration(0); now < time.Minute; now += 7 * time.Millisecond {
		n.push(now, window, now.Seconds())
		over, growth := n.growth(now.Seconds(), now)
		if len(n.Ring) > ringParts+2 {
			t.Fatalf("%d points at %s", len(n.Ring), now)
		}
		if now >= window && (over < window || over > window+window/ringParts+7*time.Millisecond) {
			t.Fatalf("the window is %s long at %s", over, now)
		}
		if math.Abs(growth-over.Seconds()) > 1e-9 {
			t.Fatalf("grew by %g in %s", growth, over)
		}
	}
}

// TestWindowAtTicksOfItsParts asserts that a tick that comes right on time is kept.
func TestWindowAtTicksOfItsParts(t *testing.T) {
	n := &ConditionState{}
	const window = 32 * time.Second
	for now := time.Duration(0); now < 2*window; now += window / ringParts {
		n.push(now, window, now.Seconds())
		if over, _ := n.growth(now.Seconds(), now); over != min(now, window) {
			t.Fatalf("the window is %s long at %s", over, now)
		}
	}
}
