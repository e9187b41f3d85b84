package policy

// Limit is a limit on memory that a signal was measured against.
type Limit struct {
	// Name is for messages: memory.max, memory.high of /system.slice, the host's memory;
	// "" = not known.
	Name  string `json:"Name"`
	Bytes uint64 `json:"Bytes"`
	// Own is true for a limit of the target's own cgroup, and if the target holds at
	// least half of what is used of the limit.
	Own bool `json:"Own"`
}

// justifies reports whether a gain justifies that connections are cut: a percentage of
// the limit, or any gain if the target itself causes the shortage.
func (l *Limit) justifies(gain uint64, percent float64) bool {
	return gain > 0 && (l.Own || l.Bytes > 0 && 100*float64(gain) >= percent*float64(l.Bytes))
}
