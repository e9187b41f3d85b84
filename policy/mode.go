package policy

// Mode limits which of the actions that are due are performed. It changes nothing of what
// is decided, except that an action that was skipped is given again as soon as the mode
// permits it. So a mode takes actions away and never adds one.
type Mode string

// The modes. The zero Mode permits what Full permits, and actions that were skipped are
// not given again: recordings of releases without modes have it.
const (
	Observe   Mode = "observe"    // decide and report, perform nothing
	PurgeOnly Mode = "purge-only" // perform what cuts no connection
	Full      Mode = "full"       // perform everything
)

// Modes lists the modes, the strictest first.
var Modes = []Mode{Observe, PurgeOnly, Full}
