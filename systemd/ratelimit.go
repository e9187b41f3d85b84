package systemd

import (
	"time"

	"golang.org/x/time/rate"
)

// Of each key a burst is written, and then one entry in every limitEvery.
const (
	limitBurst = 30
	limitEvery = 10 * time.Second
	limitMost  = 256 // keys known at a time
)

type limits struct {
	by   map[string]*limit // by Entry.Limit
	lost int               // entries not written that the next entry of any key reports
}

type limit struct {
	*rate.Limiter
	leftOut int
}

// take reports whether an entry is to be written, and how many entries before it were
// left out.
func (l *limits) take(now time.Time, e Entry) (leftOut int, ok bool) {
	if key := e.Limit; key != "" {
		if len(l.by) >= limitMost { // keys come and go, with what they are about
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
