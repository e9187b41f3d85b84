package policy

import "fmt"

// footprint returns what the worker is known to hold, in bytes: private memory, in RAM or
// swapped out, and shared memory by its TLS session cache or its page tables. 0 = not
// known.
func (w *Worker) footprint() uint64 {
	if w.Private == 0 {
		return 0
	}
	return max(w.Private+w.CacheBytes, w.RAM)
}

// bytesPerConnection returns what the worker holds for each of its connections: 0 if that
// is not known, so that it comes last, and infinity without a connection.
func (w *Worker) bytesPerConnection() float64 {
	if w.Connections == nil || w.footprint() == 0 {
		return 0
	}
	return float64(w.footprint()) / float64(*w.Connections)
}

// costs says what draining the worker frees and costs.
func (w *Worker) costs() string {
	if w.bytesPerConnection() == 0 {
		return "; its bytes a connection are not known"
	}
	return fmt.Sprintf("; it holds the most bytes a connection, %.0fMiB for %d",
		float64(w.footprint())/(1<<20), *w.Connections)
}
