package status

import (
	"reflect"
	"testing"

	"hapressure/tests/policytest"
)

func TestThresholds(t *testing.T) {
	p := policytest.Decode(t, `version: 1
tiers:
  - {name: protect, enter: always, actions: [protect: {}]}
  - name: purge
    enter: {any: [reload-room: {below: 2}, pressure: {some: 5%, window: 10s}]}
    leave: {usage: {below: 6%}}
    actions: [purge-ssl-cache: {}]
`)
	want := []Threshold{
		{Tier: 2, Signal: "reload-room", Below: true, Value: 2, Alone: true,
			Text: "reload-room below 2"},
		{Tier: 2, Signal: "pressure", Of: "some", Value: 5, Alone: true,
			Text: "pressure some at least 5% in 10s"},
	}
	if got := Thresholds(p); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
