package main

import (
	"testing"

	"hapressure/tests/golden"
)

// The pictures in docs show the run in testdata, which holds the figures of one real run.
func TestPictureIsCurrent(t *testing.T) {
	for _, a := range acts {
		without, with, err := readReports("testdata", a.kind)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, "../../docs/"+a.picture, picture(a.title, without, with))
	}
}
