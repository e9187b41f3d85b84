package main

import (
	"errors"
	"io"
	"os"
	"time"

	"hapressure/policy/record"
)

// eachTick calls fn with the time of each tick in a recording.
func eachTick(name string, fn func(at time.Duration)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := record.NewReader(f)
	if err != nil {
		return err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Tick != nil {
			fn(e.Tick.Now)
		}
	}
}
