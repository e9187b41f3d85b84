// Package trials runs test files of policies, and prints what came of them.
package trials

import (
	"errors"
	"io"
	"path/filepath"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/recordings"
	"hapressure/input"
	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/policy/replay"
	"hapressure/policy/schema"
	"hapressure/policy/simulate"
	"hapressure/policy/trial"
)

// Report is the result of one test file.
type Report struct {
	File   string   `json:"file"`   // the test file
	Policy []string `json:"policy"` // the files of the policy; empty = the built-in policy
	// Mistakes are those of the test file and of the files that it names.
	Mistakes schema.Errors `json:"mistakes"`
	Tests    []Outcome     `json:"tests"` // in the file's order
}

// Outcome is the result of one test.
type Outcome struct {
	Name     string          `json:"name"`              // of the test
	Passed   bool            `json:"passed"`            // all expectations are met
	Failures []trial.Failure `json:"failures"`          // expectations that are not met
	Figures  *Figures        `json:"figures,omitempty"` // of a scenario
	Actions  map[string]int  `json:"actions"`           // how often each was given
	Tiers    []Tier          `json:"tiers"`             // from the beginning
}

// Figures sum up a simulation.
type Figures struct {
	Reloads        int     `json:"reloads"`         // that were tried
	ReloadsFailed  int     `json:"reloads_failed"`  // because memory was short
	OOMKills       int     `json:"oom_kills"`       // processes that the kernel killed
	Outages        int     `json:"outages"`         // times that the current worker was among them
	ConnectionsCut int     `json:"connections_cut"` // by actions
	PeakBytes      float64 `json:"peak_bytes"`      // the most memory used
	LimitBytes     float64 `json:"limit_bytes"`     // of the scenario
}

// Tier is a time in one tier.
type Tier struct {
	FromSeconds float64 `json:"from_seconds"` // since the beginning of the run
	Name        string  `json:"tier"`         // its name
	Why         string  `json:"why"`          // it was entered
}

// Failed counts the tests that have failed.
func (r *Report) Failed() int {
	n := 0
	for _, t := range r.Tests {
		if !t.Passed {
			n++
		}
	}
	return n
}

// Run runs the tests of a file. Warnings about recordings go to stderr.
func Run(file string, stderr io.Writer) *Report {
	r := &Report{File: file, Policy: []string{}, Mistakes: schema.Errors{}, Tests: []Outcome{}}
	text, err := read(file)
	if err != nil {
		return r.mistaken(placed(schema.Place{File: file}, err))
	}
	suite, err := trial.Decode(schema.File{Name: file, Text: text})
	if err != nil {
		return r.mistaken(err)
	}
	p, err := r.policy(suite.Policy)
	if err != nil {
		return r.mistaken(err)
	}
	for i := range suite.Tests {
		if o, err := r.test(&suite.Tests[i], p, stderr); err != nil {
			r.mistaken(err)
		} else {
			r.Tests = append(r.Tests, *o)
		}
	}
	return r
}

func read(file string) ([]byte, error) {
	f, err := input.OpenOrStdin(file, schema.MaxSize)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// placed returns an error as schema.Errors: the mistakes of a file, or one mistake at the
// place where the file is named.
func placed(at schema.Place, err error) error {
	var all schema.Errors
	if errors.As(err, &all) {
		return all
	}
	return schema.Errors{{File: at.File, Line: at.Line, Column: at.Column, Problem: err.Error()}}
}

// mistaken adds schema.Errors to the report.
func (r *Report) mistaken(err error) *Report {
	var all schema.Errors
	errors.As(err, &all)
	r.Mistakes = append(r.Mistakes, all...)
	return r
}

// locate returns the path of a file that the test file names.
func (r *Report) locate(p trial.Path) string {
	if filepath.IsAbs(p.Name) {
		return p.Name
	}
	return filepath.Join(filepath.Dir(r.File), p.Name)
}

func (r *Report) policy(files []trial.Path) (*policy.Policy, error) {
	if len(files) == 0 {
		return language.Decode(language.BuiltIn)
	}
	for _, path := range files {
		r.Policy = append(r.Policy, r.locate(path))
	}
	p, _, err := policyfiles.Load(r.Policy...)
	if err != nil {
		return nil, placed(files[0].At, err)
	}
	return p, nil
}

// test runs one test. Its error is schema.Errors.
func (r *Report) test(t *trial.Test, p *policy.Policy, stderr io.Writer) (*Outcome, error) {
	play := r.simulate
	if len(t.Recordings) > 0 {
		play = r.replay
	}
	run, p, err := play(t, p, stderr)
	if err != nil {
		return nil, err
	}
	failures, err := t.Check(p, run)
	if err != nil {
		return nil, err
	}
	o := &Outcome{Name: t.Name, Passed: len(failures) == 0, Actions: run.Actions,
		Failures: append([]trial.Failure{}, failures...), Tiers: []Tier{}}
	if f := run.Result; f != nil {
		o.Figures = &Figures{f.Reloads, f.Failed, f.Killed, f.Outages, f.Cut, f.Peak, f.Max}
	}
	for _, s := range run.Stays {
		o.Tiers = append(o.Tiers, Tier{s.From.Seconds(), s.Name, s.Why})
	}
	return o, nil
}

// simulate runs a policy in the scenario of a test. It returns the policy of the target
// as well.
func (r *Report) simulate(t *trial.Test, p *policy.Policy, _ io.Writer) (*trial.Run,
	*policy.Policy, error) {
	if t.Target.Name != "" {
		if p = p.For(t.Target.Name); p == nil {
			return nil, nil, placed(t.Target.At, errors.New("the policy has no such target"))
		}
	}
	file := r.locate(t.Scenario)
	f, err := input.Open(file, schema.MaxSize)
	if err != nil {
		return nil, nil, placed(t.Scenario.At, err)
	}
	defer f.Close()
	s, err := simulate.Decode(file, f)
	if err != nil {
		return nil, nil, placed(t.Scenario.At, err)
	}
	run, err := trial.Simulate(p, s)
	if err != nil {
		return nil, nil, placed(t.Scenario.At, err)
	}
	return run, p, nil
}

// replay runs a policy over the recordings of a test. It returns the policy of their
// target as well.
func (r *Report) replay(t *trial.Test, p *policy.Policy, stderr io.Writer) (*trial.Run,
	*policy.Policy, error) {
	var files []string
	for _, path := range t.Recordings {
		files = append(files, r.locate(path))
	}
	played := replay.New(r.File, p)
	view, err := recordings.Play(files, []*replay.Run{played}, stderr, func(string, ...any) {})
	if err != nil {
		return nil, nil, placed(t.Recordings[0].At, err)
	}
	if own := p.For(view.Target); own != nil {
		p = own
	}
	return trial.Replayed(played, view), p, nil
}
