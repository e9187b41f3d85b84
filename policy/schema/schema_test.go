package schema

import (
	"fmt"
	"strings"
	"testing"
)

// A definition that refers to nothing, or whose defaults and bounds are no values of
// their kinds, is found at the first start of the program.
func TestMustParseChecksTheDefinition(t *testing.T) {
	const good = `forms: [{name: file, keys: [{name: size, default: 2MiB}]}]
scalars: {size: {pattern: '{decimal}MiB', lo: 0MiB, hi: 9MiB, unit: MiB, write: for example 3MiB}}
`
	MustParse([]byte(good))
	for _, tt := range []struct{ old, new, want string }{
		{"name: size", "name: speed", "file speed: speed is not one thing"},
		{"2MiB", "10MiB", "file size: 10MiB is out of range: write from 0MiB to 9MiB"},
		{"hi: 9MiB", "hi: 9", "size: 9 has no unit: write 9MiB"},
		{"example 3MiB", "example 3", "size: 3 has no unit: write 3MiB"},
		{"default", "defualt", "field defualt not found"},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, tt.want) {
					t.Errorf("with %q: %s, want %s", tt.new, got, tt.want)
				}
			}()
			MustParse([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		}()
	}
}
