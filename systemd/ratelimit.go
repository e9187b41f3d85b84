package systemd

import (
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// repeating are the kinds of entry that may come again and again for as long as something stays wrong, or comes and goes. All others are
// always written: each action that was done or refused, and each change of tier, is one entry.
var repeating = []string{Failed, Withheld, SensorMissing, StorageFailed, PolicyRejected, TargetFound, TargetLost, ConnectionChanged, HookFailed}

// Of each repeating kind and target a burst is written, and then one in every so often.
const (
	limitBurst = 30
	limitEvery = 10 * time.Second
	limitMost  = 256 // kinds and targets known at a time
)

type limits struct {
	by   map[string]*limit // by MESSAGE_ID and target
	lost int               // entries not written that any next one is to tell of
}

type limit struct {
	*rate.Limiter
	leftOut int
}

// take reports whether an entry is to be written, and how many that should have come before it were not.
func (l *limits) take(now time.Time, e Entry) (leftOut int, ok bool) {
	if slices.Contains(repeating, e.MessageID) {
		key := e.MessageID + e.Fields[fieldTarget]
		if len(l.by) >= limitMost { // targets come and go
			for _, k := range l.by {
				l.lost += k.leftOut
			}
			clear(l.by)
		}
		if l.by[key] == nil {
			l.by[key] = &limit{Limiter: rate.NewLimiter(rate.Every(limitEvery), limitBurst)}
		}
		k := l.by[key]
		if !k.AllowN(now, 1) {
			k.leftOut++
			return 0, false
		}
		leftOut, k.leftOut = k.leftOut, 0
	}
	leftOut, l.lost = leftOut+l.lost, 0
	return leftOut, true
}
