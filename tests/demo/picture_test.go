package main

import (
	"testing"

	"hapressure/tests/golden"
)

// docs/demo.svg shows the run in testdata, which holds the figures of one real run.
func TestPictureIsCurrent(t *testing.T) {
	without, with, err := readReports("testdata")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "../../docs/demo.svg", picture(without, with))
}
