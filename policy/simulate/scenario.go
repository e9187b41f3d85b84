// Package simulate makes recordings without a machine: a simple model of a unit's memory, in which the actions of a policy take effect.
package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Scenario is what is simulated.
type Scenario struct {
	Duration    Duration // how long
	Seed        Count    // of what is random: when exactly reloads come, and how much memory beside HAProxy is in use
	Limit       Size     // memory.max of the unit
	Swap        Size     // what may be swapped out above it
	Host        Size     // the host's memory; 0 = it never is short
	Others      Size     // what other programs on the host come to use of it, evenly over Duration
	Base        Size     // what is in the unit beside workers
	Cache       Size     // TLS session cache of each worker
	Heap        Size     // of a worker without connections
	Connection  Size     // heap of one connection
	Connections Count    // opened to each generation before the next reload
	HalfLife    Duration `yaml:"half-life"` // the time in which half of an old worker's connections end
	Reload      struct {
		First, Every Duration
		Count        Count
	}
}

// Size is in bytes, Duration and Count are as in the standard library: types of their own to be read strictly.
type (
	Size     float64
	Duration time.Duration
	Count    int
)

var (
	sizes  = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})(KiB|MiB|GiB)$`)
	counts = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})$`) // not 010, which YAML reads as 8
)

func wrong(n *yaml.Node, example string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %q is not understood: write for example %s", n.Line, n.Value, example)}}
}

func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	m := sizes.FindStringSubmatch(n.Value)
	if m == nil {
		return wrong(n, "64MiB")
	}
	v, err := strconv.ParseFloat(m[1], 64)
	*s = Size(v * map[string]float64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]])
	return err
}

func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v <= 0 || v > 24*time.Hour {
		return wrong(n, "30s, and at most 24h")
	}
	*d = Duration(v)
	return nil
}

func (c *Count) UnmarshalYAML(n *yaml.Node) error {
	if !counts.MatchString(n.Value) {
		return wrong(n, "20")
	}
	v, err := strconv.Atoi(n.Value)
	*c = Count(v)
	return err
}

var position = regexp.MustCompile(`(?m)^(?:yaml: )?line (\d+): `)

// Decode reads the scenario called name to the end of r, which bounds it. Its error has a line for each mistake, with file and line.
func Decode(name string, r io.Reader) (*Scenario, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading scenario %q: %w", name, err)
	}
	s := &Scenario{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err = d.Decode(s)
	var te *yaml.TypeError
	switch {
	case errors.As(err, &te):
		err = errors.New(strings.Join(te.Errors, "\n"))
	case err == io.EOF:
		err = errors.New("line 1: the file is empty")
	case err != nil:
	case d.Decode(&Scenario{}) != io.EOF:
		err = errors.New("line 1: the file has more than one document")
	case s.Duration == 0 || s.Limit == 0 || s.Cache == 0 || s.HalfLife == 0 || s.Reload.Every < Duration(3*time.Second):
		err = errors.New("line 1: duration, limit, cache, half-life and reload: {every: } of at least 3s are needed")
	}
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(position.ReplaceAllString(err.Error(), name+":$1: "), " in type simulate.Scenario", ""))
	}
	return s, nil
}
