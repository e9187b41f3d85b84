package controller

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/golden"
)

const (
	catalogFile = "../packaging/hapressure.catalog"
	loggingDoc  = "../docs/logging.md"
)

// fieldsOf returns the names of the fields of a kind, sorted.
func fieldsOf(k Kind) []string {
	return slices.Sorted(slices.Values(strings.Fields(kinds[k].fields)))
}

func TestKindsAreDistinct(t *testing.T) {
	ids, names := map[string]bool{}, map[string]bool{}
	for _, k := range kinds {
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(k.id) {
			t.Errorf("%s: the MESSAGE_ID %q is not 128 bits in hexadecimal", k.name, k.id)
		}
		if ids[k.id] || names[k.name] || k.subject == "" || len(k.text) < 40 {
			t.Errorf("%+v: a name or id occurs twice, or the catalog explains too little", k)
		}
		ids[k.id], names[k.name] = true, true
	}
}

// wrap breaks a paragraph into lines of at most 80 characters.
func wrap(paragraph string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Fields(paragraph) {
		switch {
		case i == 0:
		case width+1+len(word) > 80:
			b.WriteByte('\n')
			width = 0
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

// TestCatalogIsCurrent makes the message catalog from the table of kinds with -update,
// and otherwise checks that it is current.
func TestCatalogIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString("# What each journal entry of hapressure means; \"journalctl -x\" shows it " +
		"below the entry.\n" +
		"# Generated from controller/events.go by \"go test ./controller -run Current -update\".\n")
	variable := regexp.MustCompile(`@([A-Z_]+)@`)
	for k, row := range kinds {
		expand := func(text string) string {
			for _, m := range variable.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(fieldsOf(Kind(k)), m[1]) {
					t.Errorf("the text of %s has the field %s, the entries "+
						"have not", row.name, m[1])
				}
			}
			return variable.ReplaceAllString(text, "@"+FieldPrefix+"$1@")
		}
		fmt.Fprintf(&b, "\n-- %s\nSubject: %s\nDefined-By: hapressure\nDocumentation: "+
			"man:hapressure(8)\n", row.id, expand(row.subject))
		for paragraph := range strings.SplitSeq(row.text, "\n\n") {
			fmt.Fprintf(&b, "\n%s\n", wrap(expand(paragraph)))
		}
	}
	golden.Check(t, catalogFile, b.String())
}

// TestLoggingDocIsCurrent makes the table of kinds in docs/logging.md with -update, and
// otherwise checks that it is current. The table of fields has each field, and no other.
func TestLoggingDocIsCurrent(t *testing.T) {
	text, err := os.ReadFile(loggingDoc)
	if err != nil {
		t.Fatal(err)
	}
	const header = "| kind | MESSAGE_ID |"
	head, rest, found := strings.Cut(string(text), header)
	_, tail, end := strings.Cut(rest, "\n\n")
	if !found || !end {
		t.Fatalf("%s has no table of kinds", loggingDoc)
	}
	var b strings.Builder
	b.WriteString(head + header + " priority | how often | fields, " +
		"without " + FieldPrefix + " |\n|---|---|---|---|---|\n")
	all := map[string]bool{"LEFT_OUT": true}
	for k, row := range kinds {
		often, priority, list := "always", [...]string{logErr: "err", logWarning: "warning", logNotice: "notice", logInfo: "info"}[row.priority],
			strings.Join(strings.Fields(row.fields), ", ")
		if row.limited {
			often = "limited"
		}
		if Kind(k) == ConnectionChanged {
			priority += ", or notice if it is D-Bus again"
		}
		if row.fields == actionFields && Kind(k) != Action {
			list = "as of an action"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", row.name, row.id, priority, often, list)
		for _, name := range fieldsOf(Kind(k)) {
			all[name] = true
		}
	}
	golden.Check(t, loggingDoc, b.String()+"\n"+tail)

	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\| HAPRESSURE_(\w+) \|`).FindAllStringSubmatch(tail, -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	if want := slices.Sorted(maps.Keys(all)); !slices.Equal(documented, want) {
		t.Errorf("the table of fields has %q, want %q", documented, want)
	}
	for _, name := range append(slices.Clone(policy.Kinds), string(policy.Done), string(policy.Refused), string(policy.Failed), string(policy.Skipped)) {
		if !strings.Contains(string(text), name) {
			t.Errorf("%s does not mention %s", loggingDoc, name)
		}
	}
}

// Each kind of entry is sent with the fields of its row, if all of them apply.
func TestEntriesHaveTheFieldsOfTheirKind(t *testing.T) {
	j := newRecorder()
	e := Events{j}
	bad := errors.New("bad")
	limit := cgroup.Limit{Group: "/g", Kind: "memory.max", Bytes: 2, Usage: 1}
	v := view{nearest: limit, most: limit}
	e.modeChanged("a.service", policy.Full, policy.Observe)
	e.paused("a.service", status.Mode{Paused: true})
	e.resumed("a.service", "the pause is over")
	e.Started("1", "the built-in policy", "")
	e.Stopped()
	e.PolicyLoaded("a policy")
	e.PolicyRejected("a policy", "a mistake")
	e.RightMissing(status.Privilege{Name: "CAP_KILL", Missing: "not there", Remedy: "add it"})
	e.SensorMissing("a.service", "memory.max", bad)
	e.StorageFailed("a.service", recordingStore, "bad", bad)
	e.targetFound("a.service", "/a")
	e.targetLost("a.service", bad)
	e.linkChanged("D-Bus", &Link{Way: Way{Name: "the cgroup tree", Lacks: "hooks"}, Failed: bad}, time.Second)
	e.tierChanged("a.service", policy.Change{To: 1, ToName: "purge", Why: "usage"}, v)
	e.withheld("a.service", policy.Withheld{Tier: "purge", Kind: policy.HardStopAfter}, v)
	e.roomAnswered(status.Room{
		Target: "a.service", Result: status.NoRoom, Limit: limitStatus(limit), Reason: "short",
	}, "asked for by user 0")
	e.workerStuck("a.service", haproxy.Worker{ID: haproxy.ID{PID: 1}}, "it idles", time.Hour)
	e.hookFailed(systemd.Transient{Command: []string{"/bin/a"}, Environment: map[string]string{
		"HAPRESSURE_TARGET": "a.service", "HAPRESSURE_TIER": "purge", "HAPRESSURE_TIER_FROM": "none", "HAPRESSURE_CHANGE": "entered",
	}}, bad)
	due := policy.Due{Tier: "purge", Kind: policy.PurgeSSLCache, Why: "usage", Worker: policy.WorkerID{PID: 1}}
	for _, r := range []policy.Result{policy.Done, policy.Refused, policy.Failed} {
		e.outcome("a.service", due, result{Result: r, why: "because", took: time.Second})
	}
	for k, row := range kinds {
		sent := j.all(kind(Kind(k)))
		if len(sent) != 1 {
			t.Errorf("%s was sent %d times, want once", row.name, len(sent))
			continue
		}
		var got []string
		for name := range sent[0].Fields {
			got = append(got, strings.TrimPrefix(name, FieldPrefix))
		}
		if slices.Sort(got); !slices.Equal(got, fieldsOf(Kind(k))) {
			t.Errorf("%s has the fields %q, want %q", row.name, got, fieldsOf(Kind(k)))
		}
		if want := map[bool]string{true: row.id + sent[0].Fields[FieldPrefix+"TARGET"]}[row.limited]; sent[0].Limit != want {
			t.Errorf("%s is limited by %q, want %q", row.name, sent[0].Limit, want)
		}
	}
}

// An entry is found by the unit and the process that it is about.
func TestEntriesNameTheirUnitAndProcess(t *testing.T) {
	j := newRecorder()
	due := policy.Due{Kind: policy.PurgeSSLCache, Worker: policy.WorkerID{PID: 42}}
	Events{j}.outcome("haproxy.service", due, result{})
	Events{j}.outcome("/machine.slice/lb", due, result{})
	got := j.all(kind(Action))
	if got[0].Unit != "haproxy.service" || got[1].Unit != "" || got[0].PID != "42" {
		t.Errorf("%+v", got)
	}
}
