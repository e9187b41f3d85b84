package golden

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// Tags reports each exported field of a struct, and of all that its fields lead to, whose
// name in JSON is not written beside it: renaming such a field would lose what older
// versions have persisted.
func Tags(t testing.TB, values ...any) {
	t.Helper()
	seen := map[reflect.Type]bool{}
	for _, v := range values {
		for _, missing := range untagged(reflect.TypeOf(v), seen) {
			t.Errorf("%s is persisted and has no json tag", missing)
		}
	}
}

// untagged returns the fields without a tag. Types that encode themselves are not looked
// into.
func untagged(typ reflect.Type, seen map[reflect.Type]bool) (missing []string) {
	if seen[typ] || reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Marshaler]()) {
		return nil
	}
	seen[typ] = true
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return untagged(typ.Elem(), seen)
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			tag, tagged := f.Tag.Lookup("json")
			if !f.IsExported() && !f.Anonymous || tag == "-" {
				continue
			}
			if !tagged && !f.Anonymous {
				missing = append(missing, typ.String()+"."+f.Name)
			}
			missing = append(missing, untagged(f.Type, seen)...)
		}
	}
	return missing
}

// Covers checks that JSON which was read by this version and written again has all that
// it had when an older version wrote it. It may have more.
func Covers(t testing.TB, again, old []byte) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal(again, &a), json.Unmarshal(old, &b)); err != nil {
		t.Fatal(err)
	}
	if !covers(a, b) {
		t.Errorf("an older version wrote\n%s\nwhich is read and written again as\n%s", old, again)
	}
}

func covers(v, old any) bool {
	switch old := old.(type) {
	case map[string]any:
		v, ok := v.(map[string]any)
		for key, part := range old {
			ok = ok && (part == nil || covers(v[key], part))
		}
		return ok
	case []any:
		v, ok := v.([]any)
		return ok && slices.EqualFunc(v, old, covers)
	}
	return v == old
}
