package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// form is one kind of mapping in a policy file. The table of forms and that of scalars are the policy language: decoding, the JSON
// Schema, `policy show` and docs/policy.md all come from them.
type form struct {
	name   string // in the schema, and of the key whose value it is
	what   string // in messages
	doc    string
	hint   string // what to write, for a message about its keys
	merges bool   // given again in a drop-in or a target it changes only the keys it has, and may leave out those it needs
	keys   []key
}

// key is one key of a form.
type key struct {
	name  string
	of    string   // the form or scalar of its value; with [] before it a list of them
	words []string // what may stand in place of a form
	need  bool
	one   int    // of the keys with the same number exactly one is given; 0 = none of these
	empty bool   // the list may be empty
	def   string // as it would be written; "" = nothing stands for what is left out
	doc   string
}

var forms = []form{
	{name: "policy", what: "the policy", merges: true, doc: "A policy file.", hint: `write "version: 1"`, keys: []key{
		{name: "version", of: "version", need: true, doc: "The version of the language."},
		{name: "targets", of: "[]target", doc: "What is watched. Left out: as in the built-in policy."},
		{name: "tiers", of: "[]tier", doc: "The ladder, from the mildest to the harshest. Left out: as in the built-in policy."},
	}},
	{name: "target", what: "a target", merges: true, doc: "One HAProxy. Of several targets that match, the one that names it exactly counts, else the first.",
		hint: "write for example unit: haproxy.service", keys: []key{
			{name: "unit", of: "unit", one: 1, doc: "A systemd service, slice or scope, or a glob: `haproxy@*.service`."},
			{name: "cgroup", of: "cgroup", one: 1, doc: "A cgroup's path below the mount, or a glob, as for containers: `system.slice/docker-*.scope`. A `*` ends at a `/`."},
			{name: "tiers", of: "[]tier", doc: "Changes to the policy's tiers for this target alone, by their name: the keys given here replace the tier's."},
			{name: "disabled", of: "boolean", def: "false", doc: "true: not watched, also where a glob of another target matches it."},
		}},
	{name: "tier", what: "a tier", merges: true, doc: "One step of the ladder. To be in a tier is to be in all milder ones.",
		hint: "a tier that only changes another has that one's name", keys: []key{
			{name: "name", of: "tier-name", need: true, doc: "By which drop-ins and targets change it, and which the journal tells."},
			{name: "enter", of: "condition", words: []string{"always"}, need: true, doc: "When it is entered."},
			{name: "leave", of: "condition", doc: "When it is left for the next milder one, unless its `enter` is true. Needed unless that is `always`."},
			{name: "urgent", of: "condition", words: []string{"true", "false"}, def: "false", doc: "While it is true, the tier waits for nothing in the milder tiers but a purge."},
			{name: "settle", of: "duration", def: "10s", doc: "How long harsher tiers wait for this one's actions, and how long after an effect it measures before it terminates."},
			{name: "actions", of: "[]action", need: true, empty: true, doc: "What is done, at most one of a kind. An empty list: its change is told, nothing is done."},
			{name: "disabled", of: "boolean", def: "false", doc: "true: as if the tier were not there."},
		}},
	{name: "condition", what: "a condition", doc: "One signal, or several joined. A reading that cannot be had makes it neither true nor false.",
		hint: "write for example usage: {above: 70%}, and join several with any or all", keys: []key{
			{name: "any", of: "[]condition", one: 1, doc: "True if one of them is."},
			{name: "all", of: "[]condition", one: 1, doc: "True if all of them are."},
			{name: "not", of: "condition", one: 1, doc: "True if it is false."},
			{name: Usage, of: Usage, one: 1, doc: "Memory used, of the nearest limit: `memory.high` and `memory.max` of the cgroup and all above it, and the host's memory."},
			{name: ReloadRoom, of: ReloadRoom, one: 1, doc: "How many times what the current worker holds still fits under the limit."},
			{name: Pressure, of: Pressure, one: 1, doc: "Time in which tasks stood still for want of memory."},
			{name: Events, of: Events, one: 1, doc: "Counts of memory.events."},
			{name: LimitIn, of: LimitIn, one: 1, doc: "Time until the limit is reached if usage goes on as in the last 3s."},
			{name: Swap, of: Swap, one: 1, doc: "Swap used: memory.swap.current."},
			{name: Shmem, of: Shmem, one: 1, doc: "Shared memory used, which TLS session caches are: shmem of memory.stat."},
			{name: "for", of: "duration", doc: "True only once it has been true for so long without a break. Left out: at once."},
		}},
	comparison(Usage, "percent"), comparison(ReloadRoom, "number"), comparison(LimitIn, "duration"), comparison(Swap, "size"), comparison(Shmem, "size"),
	{name: Pressure, what: Pressure, doc: "memory.pressure, compared by \"at least\".", hint: "write for example {some: 5%, window: 10s}", keys: []key{
		{name: "some", of: "stall", one: 1, doc: "Part of the time in which at least one task stood still."},
		{name: "full", of: "stall", one: 1, doc: "Part of the time in which all tasks did."},
		{name: "window", of: "window", one: 2, doc: "Measured over exactly this time."},
		{name: "average", of: "average", one: 2, doc: "The kernel's own running average."},
	}},
	{name: Events, what: Events, doc: "memory.events, compared by \"at least\".", hint: "write for example {high: 1, window: 10s}", keys: []key{
		{name: "high", of: "positive", one: 1, doc: "How often memory.high was exceeded."},
		{name: "max", of: "positive", one: 1, doc: "How often usage was about to exceed memory.max."},
		{name: "oom", of: "positive", one: 1, doc: "How often an allocation was about to fail."},
		{name: "oom_kill", of: "positive", one: 1, doc: "How many processes the kernel killed."},
		{name: "window", of: "window", need: true, doc: "Counted over this time."},
	}},
	{name: "action", what: "an action", doc: "What a tier does to stopping workers.", hint: "write for example " + PurgeSSLCache + ": {}", keys: []key{
		{name: PurgeSSLCache, of: PurgeSSLCache, one: 1, doc: "Empty their TLS session caches."},
		{name: TrimPools, of: TrimPools, one: 1, doc: "Have them return what their memory pools keep for later."},
		{name: PageOut, of: PageOut, one: 1, doc: "Move their memory to swap, where there is room."},
		{name: HardStopAfter, of: HardStopAfter, one: 1, doc: "Shorten their effective hard-stop-after: who has been stopping for longer is drained."},
		{name: TerminateOldest, of: TerminateOldest, one: 1, doc: "End the oldest generation."},
	}},
	{name: PurgeSSLCache, what: PurgeSSLCache, doc: "Costs a full handshake where a session would have been resumed.",
		hint: "write " + PurgeSSLCache + ": {}", keys: []key{only}},
	{name: TrimPools, what: TrimPools, doc: "All threads of the worker wait while it is done. Before HAProxy 3.3 it writes a table to its standard error.",
		hint: "write " + TrimPools + ": {}", keys: []key{only}},
	{name: PageOut, what: PageOut, doc: "Costs the time to read it back.", hint: "write " + PageOut + ": {}", keys: []key{only}},
	{name: HardStopAfter, what: HardStopAfter, doc: "Costs the connections left, which are shut down.", hint: "write for example {limit: 5m}", keys: []key{
		{name: "limit", of: "duration", need: true, doc: "How long a worker may be stopping."},
		{name: "halve-every", of: "duration", def: "0", doc: "The limit is halved each time the tier was held for so long; 0: never. Needs `floor`."},
		{name: "floor", of: "duration", def: "0", doc: "The limit is not halved below this."},
		{name: "spread", of: "duration", def: "0", doc: "The sessions of a worker are shut down over this time, not all at once."},
		{name: "per-second", of: "positive", def: "200", doc: "And never more of them in a second."},
		only,
	}},
	{name: TerminateOldest, what: TerminateOldest, doc: "Costs the connections of the generation.",
		hint: "write for example {keep: 1}", keys: []key{
			{name: "grace", of: "duration", def: "2s", doc: "Between SIGTERM and SIGKILL."},
			{name: "settle", of: "duration", def: "1s", doc: "Between the end of one generation and the next one's turn."},
			{name: "keep", of: "count", def: "0", doc: "So many of the youngest stopping generations are spared."},
			{name: "limit", of: "positive", def: "20", doc: "Never more workers than this in a minute."},
			only,
		}},
	{name: "only", what: "only", doc: "Which stopping workers an action is for: those to which all that is given applies.",
		hint: "write for example {stopping-for: {above: 30s}}", keys: []key{
			{name: "stopping-for", of: "stopping-for", doc: "How long it has been stopping."},
			{name: "cache", of: "cache", doc: "What its TLS session cache holds. A worker whose cache is not known is left alone."},
			{name: "generation", of: "generation", doc: "Its place among the stopping generations."},
		}},
	{name: "stopping-for", what: "stopping-for", keys: []key{{name: "above", of: "duration", need: true}}, hint: "write for example {above: 30s}"},
	{name: "cache", what: "cache", keys: []key{{name: "above", of: "some-size", need: true}}, hint: "write for example {above: 64MiB}"},
	{name: "generation", what: "generation", hint: "write for example {older-than: 2}", keys: []key{
		{name: "older-than", of: "count", need: true, doc: "So many of the youngest stopping generations are left alone."}}},
}

var only = key{name: "only", of: "only", doc: "The workers it is for. Left out: all that are stopping."}

func comparison(signal, of string) form {
	return form{name: signal, what: signal, hint: "write for example {above: " + scalars[of].example() + "}", keys: []key{
		{name: "above", of: of, one: 1}, {name: "below", of: of, one: 1}}}
}

// scalar is one kind of value that is a single word.
type scalar struct {
	pattern string // of the whole, a regular expression of both Go and ECMAScript
	write   string // in messages: what to write
	unit    string // the likeliest, to tell to whoever wrote none
	lo, hi  string // bounds, as they would be written
	words   []string
	problem func(text string) string // what the pattern cannot find; "" = none
	doc     string
}

// The one way to write a number. YAML would read 010 as 8, 1_0 as 10 and 0x10 as 16.
const (
	whole    = `(?:0|[1-9][0-9]{0,11})`
	decimal  = whole + `(?:\.[0-9]{1,9})?`
	duration = `0|(?:` + decimal + `(?:ms|s|m|h))+`
	size     = decimal + `(?:KiB|MiB|GiB)`
)

var scalars = map[string]scalar{
	"version":  {words: []string{"1"}},
	"boolean":  {words: []string{"true", "false"}},
	"average":  {words: []string{"10s", "60s", "300s", "1m", "5m"}, doc: "the averages the kernel keeps"},
	"percent":  {pattern: decimal + "%", write: "for example 70%", unit: "%", lo: "0%", hi: "100%"},
	"stall":    {pattern: decimal + "%", write: "for example 5%", unit: "%", lo: "0.01%", hi: "100%"},
	"number":   {pattern: decimal, write: "for example 2", lo: "0", hi: "1000"},
	"count":    {pattern: whole, write: "for example 2", lo: "0", hi: "1000000"},
	"positive": {pattern: whole, write: "for example 2", lo: "1", hi: "1000000"},
	"size":     {pattern: size, write: "for example 64MiB", unit: "MiB", lo: "0KiB", hi: "1000000GiB", doc: "in KiB, MiB or GiB"},
	// 0 would be taken for no filter at all.
	"some-size": {pattern: size, write: "for example 64MiB", unit: "MiB", lo: "1KiB", hi: "1000000GiB", doc: "in KiB, MiB or GiB"},
	"duration":  {pattern: duration, write: "for example 10s", unit: "s", lo: "0s", hi: "24h", doc: "in ms, s, m or h, also joined: 1m30s"},
	// Shorter than the kernel's own for pressure triggers says nothing, and longer is the work of the kernel's averages.
	"window":    {pattern: duration, write: "for example 10s", unit: "s", lo: "500ms", hi: "10m"},
	"tier-name": {pattern: `[a-z][a-z0-9-]{0,31}`, write: "small letters, digits and -, at most 32"},
	"unit":      {pattern: `[^/]+\.(?:service|slice|scope)`, write: "for example haproxy.service", problem: badUnit},
	"cgroup":    {pattern: `[^\x00]+`, write: "for example haproxy.slice", problem: badCgroup},
}

func (s scalar) example() string { return strings.TrimPrefix(s.write, "for example ") }

func badUnit(text string) string {
	if strings.Contains(text, "/") {
		return "is a path: write cgroup: " + text
	}
	return badGlob(text)
}

func badGlob(text string) string {
	if _, err := path.Match(text, ""); err != nil {
		return fmt.Sprintf("is not a valid glob: %v", err)
	}
	return ""
}

func badCgroup(text string) string {
	if slices.Contains(strings.Split(text, "/"), "..") || path.Clean("/"+text) == "/" {
		return "does not name a group below the mount: write for example haproxy.slice"
	}
	return badGlob(text)
}

// formOf returns a form, or nil where the name is a scalar's.
func formOf(name string) *form {
	for i := range forms {
		if forms[i].name == name {
			return &forms[i]
		}
	}
	return nil
}

// key returns a key of the form, or nil.
func (f *form) key(name string) *key {
	for i := range f.keys {
		if f.keys[i].name == name {
			return &f.keys[i]
		}
	}
	return nil
}

// names returns the form's keys; of one group, or all with 0.
func (f *form) names(one int) []string {
	var names []string
	for _, k := range f.keys {
		if one == 0 || k.one == one {
			names = append(names, k.name)
		}
	}
	return names
}
