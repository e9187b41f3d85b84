package controller

import "fmt"

// The stores of a guard, as the journal names them.
const (
	recordingStore = "recording"
	stateStore     = "state"
	modeStore      = "mode"
)

// storage reports failures of the stores of one target, each once for as long as its
// reason stays the same.
type storage struct {
	target string
	events Events
	why    map[string]string // by store: the last reason; none if its last file was written
}

func newStorage(target string, events Events) storage {
	return storage{target, events, map[string]string{}}
}

// failed reports an error. The message is a format of the target and the error.
func (s storage) failed(store string, err error, message string) {
	if why := err.Error(); s.why[store] != why {
		s.why[store] = why
		s.events.StorageFailed(s.target, store, fmt.Sprintf(message, s.target, err), err)
	}
}

// works forgets the failures of a store.
func (s storage) works(store string) { delete(s.why, store) }
