package golden

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

type base struct {
	In  int `json:"in"`
	Out int
}

func TestUntagged(t *testing.T) {
	type leaf struct{ Bare string }
	type top struct {
		base
		Leaves map[string][]*leaf `json:"leaves"`
		Again  *top               `json:"again"`
		When   time.Time          `json:"when"`
		Local  int                `json:"-"`
		_      struct{ Hidden int }
	}
	got := untagged(reflect.TypeFor[*top](), map[reflect.Type]bool{})
	if want := []string{"golden.base.Out", "golden.leaf.Bare"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		again, old string
		want       bool
	}{
		{`{"a":{"b":[1,"x"],"new":0}}`, `{"a":{"b":[1,"x"]},"c":null}`, true},
		{`{"a":{"b":[1,"y"]}}`, `{"a":{"b":[1,"x"]}}`, false},
		{`{"a":{}}`, `{"a":{"b":0}}`, false},
		{`{"a":[1,2]}`, `{"a":[1]}`, false},
		{`{"a":1}`, `{"a":{}}`, false},
	}
	for _, tt := range tests {
		var a, b any
		if err := errors.Join(json.Unmarshal([]byte(tt.again), &a),
			json.Unmarshal([]byte(tt.old), &b)); err != nil {
			t.Fatal(err)
		}
		if got := covers(a, b); got != tt.want {
			t.Errorf("%s covers %s: %v", tt.again, tt.old, got)
		}
	}
}
