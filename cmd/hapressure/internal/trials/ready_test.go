package trials

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hapressure/policy"
	"hapressure/tests/golden"
	"hapressure/tests/policytest"
)

const packaging = "../../../../packaging/"

// base returns the names of files without folder and .yaml.
func base(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(packaging + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".yaml")
	}
	return files
}

// reports are those of the test files that were run, by their names.
var reports = map[string]*Report{}

func report(t *testing.T, name string) *Report {
	if reports[name] == nil {
		reports[name] = Run(packaging+"policies/tests/"+name+".yaml", t.Output())
	}
	return reports[name]
}

func passes(t *testing.T, name string) *Report {
	t.Helper()
	r := report(t, name)
	if len(r.Mistakes) > 0 || r.Failed() > 0 {
		if err := Print(t.Output(), r); err != nil {
			t.Error(err)
		}
		t.Errorf("%s: %v, %d of %d tests failed", name, r.Mistakes, r.Failed(), len(r.Tests))
	}
	return r
}

// ready are the ready policies in the order of the documents, the scenarios of their
// tests, and that without hapressure.
var (
	ready     = []string{"observe-only", "default", "proactive", "gentle", "small-vps", "ingress"}
	scenarios = []string{"storm", "ingress", "databases", "maps", "small-vps", "neighbours"}
)

// Each ready policy passes its tests, one for each scenario, and their figures are those
// of docs/ready-policies.md. Other processors round otherwise: there a figure may differ.
func TestReadyPolicies(t *testing.T) {
	if names := base(t, "policies/*.yaml"); len(names) != len(ready) {
		t.Errorf("%q, of which some are not tested", names)
	}
	table := "| | " + strings.Join(scenarios, " | ") + " |\n|---|" +
		strings.Repeat("---|", len(scenarios)) + "\n"
	for _, name := range ready {
		r := passes(t, name)
		row := name
		if name == "observe-only" {
			row = "without hapressure"
		}
		for _, s := range scenarios {
			i := slices.IndexFunc(r.Tests, func(o Outcome) bool { return o.Name == s })
			if i < 0 {
				t.Errorf("%s has no test %s", name, s)
				continue
			}
			f := r.Tests[i].Figures
			row += fmt.Sprintf(" | %d, %d, %.0f", f.ReloadsFailed, f.ConnectionsCut,
				f.PeakBytes/(1<<20))
		}
		table += "| " + row + " |\n"
	}
	if runtime.GOARCH == "amd64" {
		golden.Section(t, "../../../../docs/ready-policies.md", "figures", table)
	}
}

// Each recipe of the cookbook passes its tests, and the page has it as it is.
func TestCookbook(t *testing.T) {
	for _, name := range base(t, "policies/cookbook/*.yaml") {
		r := passes(t, "cookbook-"+name)
		text, err := os.ReadFile(packaging + "policies/cookbook/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		quoted := ""
		for line := range strings.Lines(string(text)) {
			quoted += strings.TrimRight("    "+line, " \n") + "\n"
		}
		figures := "\n| scenario | reloads failed | connections cut | peak |\n|---|---|---|---|\n"
		for _, o := range r.Tests {
			f := o.Figures
			figures += fmt.Sprintf("| %s | %d of %d | %d | %.0f of %.0f MiB |\n", o.Name,
				f.ReloadsFailed, f.Reloads, f.ConnectionsCut, f.PeakBytes/(1<<20),
				f.LimitBytes/(1<<20))
		}
		if runtime.GOARCH == "amd64" {
			golden.Section(t, "../../../../docs/cookbook.md", name, quoted+figures)
		}
	}
}

// Every test file is one of these.
func TestNoTestIsLeftOut(t *testing.T) {
	for _, name := range base(t, "policies/tests/*.yaml") {
		recipe, ok := strings.CutPrefix(name, "cookbook-")
		if !slices.Contains(ready, name) &&
			!(ok && slices.Contains(base(t, "policies/cookbook/*.yaml"), recipe)) {
			t.Errorf("%s tests nothing that is shipped", name)
		}
	}
}

// What each ready policy promises, in every scenario and not only in its own.
func TestPromises(t *testing.T) {
	cuts := []string{policy.HardStopAfter, policy.TerminateOldest}
	for name, never := range map[string][]string{
		"observe-only": policy.Kinds, "gentle": cuts, "proactive": {policy.TrimPools},
	} {
		for _, o := range report(t, name).Tests {
			for _, kind := range never {
				if n := o.Actions[kind]; n > 0 {
					t.Errorf("%s in %s: %d times %s", name, o.Name, n, kind)
				}
			}
		}
	}
}

// observe-only has the tiers of the built-in policy without actions, except the one that
// is always entered. proactive differs from it only in when it purges.
func TestVariantsOfTheBuiltInPolicy(t *testing.T) {
	def := policytest.BuiltIn(t).Tiers
	tiers := func(name string) map[string]policy.Tier {
		all := map[string]policy.Tier{}
		for _, tier := range policytest.Decode(t, string(policytest.Ready(t)[name].Text)).Tiers {
			all[tier.Name] = tier
		}
		return all
	}
	observe, proactive := tiers("observe-only"), tiers("proactive")
	for _, tier := range def[1:] {
		if o := observe[tier.Name]; o.Enter.String() != tier.Enter.String() ||
			o.Leave.String() != tier.Leave.String() || len(o.Actions) != 0 {
			t.Errorf("observe-only: tier %s is %+v", tier.Name, o)
		}
		p := proactive[tier.Name]
		if tier.Name != "purge" && fmt.Sprint(p) != fmt.Sprint(tier) {
			t.Errorf("proactive: tier %s is\n%+v, not\n%+v", tier.Name, p, tier)
		}
	}
}
