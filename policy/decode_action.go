package policy

import (
	"strings"

	"gopkg.in/yaml.v3"
)

var kinds = []string{PurgeSSLCache, TrimPools, PageOut, HardStopAfter, TerminateOldest}

func (d *decoder) actions(n *yaml.Node) []Action {
	var actions []Action
	lines := map[string]int{}
	for _, item := range d.list(n, "actions") {
		if !d.written(item, "an action") {
			continue
		}
		if item.Kind != yaml.MappingNode || len(item.Content) != 2 {
			d.errorf(item, "an action is a mapping with one key: write for example %s: {}", PurgeSSLCache)
			continue
		}
		key, value := item.Content[0], item.Content[1]
		kind, ok := d.scalar(key, "an action's name")
		if !ok {
			continue
		}
		if line, twice := lines[kind]; twice {
			d.errorf(key, "action %s is given twice in one tier: the first is in line %d", kind, line)
		}
		lines[kind] = key.Line
		actions = append(actions, d.action(kind, key, value))
	}
	return actions
}

func (d *decoder) action(kind string, key, n *yaml.Node) Action {
	a := Action{Kind: kind}
	switch kind {
	case PurgeSSLCache, TrimPools, PageOut:
		d.settings(n, kind)
	case HardStopAfter:
		a.HardStop = d.hardStop(n)
	case TerminateOldest:
		a.Terminate = d.terminate(n)
	default:
		d.errorf(key, "unknown action %q: known are %s", kind, strings.Join(kinds, ", "))
	}
	return a
}

// settings is mapping for an action's settings, which may be none at all.
func (d *decoder) settings(n *yaml.Node, kind string, known ...string) map[string]*yaml.Node {
	if n.Kind == yaml.MappingNode && len(known) == 0 && len(n.Content) > 0 && d.written(n, kind) {
		d.errorf(n, "%s has no settings: write %s: {}", kind, kind)
		return nil
	}
	if n.Kind != yaml.MappingNode && n.Kind != yaml.AliasNode {
		d.errorf(n, "%s is not followed by its settings: write for example %s: {}", kind, PurgeSSLCache)
		return nil
	}
	return d.mapping(n, kind, known...)
}

func (d *decoder) hardStop(n *yaml.Node) HardStop {
	h := HardStop{}
	f := d.settings(n, HardStopAfter, "limit", "halve-every", "floor", "spread", "per-second")
	if f == nil {
		return h
	}
	if v := f["limit"]; v == nil {
		d.errorf(n, "%s needs limit: write for example {limit: 5m}", HardStopAfter)
	} else {
		h.Limit = d.duration(v, "limit")
	}
	if v := f["spread"]; v != nil {
		h.Spread = d.duration(v, "spread")
	}
	h.PerSecond = defaultPerSecond
	if v := f["per-second"]; v != nil {
		h.PerSecond = d.count(v, "per-second", 1)
	}
	if v := f["floor"]; v != nil {
		h.Floor = d.duration(v, "floor")
		if h.Floor > h.Limit && f["limit"] != nil {
			d.errorf(v, "floor %s is above limit %s: write at most that", v.Value, text(h.Limit))
		}
	}
	if v := f["halve-every"]; v != nil {
		h.HalveEvery = d.duration(v, "halve-every")
		// Without a floor the limit soon is next to nothing, which nobody means who leaves it out.
		if h.HalveEvery > 0 && f["floor"] == nil {
			d.errorf(v, "halve-every needs floor, how short the limit may get: write for example floor: 15s")
		}
	}
	return h
}

func (d *decoder) terminate(n *yaml.Node) Terminate {
	t := Terminate{Grace: defaultTerminateGrace, Settle: defaultTerminateSettle, Limit: defaultTerminateLimit}
	f := d.settings(n, TerminateOldest, "grace", "settle", "keep", "limit")
	if v := f["grace"]; v != nil {
		t.Grace = d.duration(v, "grace")
	}
	if v := f["settle"]; v != nil {
		t.Settle = d.duration(v, "settle")
	}
	if v := f["limit"]; v != nil {
		t.Limit = d.count(v, "limit", 1)
	}
	if v := f["keep"]; v != nil {
		t.Keep = d.count(v, "keep", 0)
	}
	return t
}
