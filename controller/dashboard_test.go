package controller

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

const packaging = "../packaging"

// dashboard is what is checked of Grafana's classic dashboard model.
type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Annotations   struct{ List []query }
	Templating    struct {
		List []struct {
			Name, Type, Definition string
			Datasource             any
		}
	}
	Panels []struct {
		ID          int
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		Datasource  source
		FieldConfig struct{ Defaults struct{ Unit string } }
		Targets     []query
	}
}

type source struct{ Type, UID string }

type query struct {
	RefID      string
	Expr       string
	Datasource source
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(packaging, "grafana/hapressure.json"))
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// queries are all of the dashboard's, by where they are, with its variables as Grafana
// fills them in when everything is selected.
func (d dashboard) queries() map[string]string {
	fill := strings.NewReplacer("$instance", ".*", "$target", ".*", "$__rate_interval", "1m", "$__range", "1h")
	all := map[string]string{}
	for _, a := range d.Annotations.List {
		all["annotation"] = fill.Replace(a.Expr)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			all[p.Title+" "+q.RefID] = fill.Replace(q.Expr)
		}
	}
	return all
}

func TestDashboardIsWellFormed(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 { // the first with datasources as objects
		t.Errorf("title %q, uid %q, schemaVersion %d", d.Title, d.UID, d.SchemaVersion)
	}
	if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
		t.Error("the first variable is not the datasource")
	}
	own := source{"prometheus", "${datasource}"}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.Type == "row" && !ids[p.ID] && p.Title != "" {
			p.Datasource, p.FieldConfig.Defaults.Unit, p.Targets = own, "none", []query{{RefID: "A", Datasource: own}}
		}
		if ids[p.ID] || p.ID == 0 || p.Title == "" || p.Type == "" || p.Datasource != own || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %+v lacks something, or has another's id", p)
		}
		ids[p.ID] = true
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] || q.Datasource != own {
				t.Errorf("%s: query %+v", p.Title, q)
			}
			refs[q.RefID] = true
		}
		g := p.GridPos
		if g.X < 0 || g.Y < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestShippedNamesExist holds that whatever names a metric names one that there is, with
// labels that it has; and that each metric can be seen on the dashboard.
func TestShippedNamesExist(t *testing.T) {
	c, _ := busy(t)
	families := scrape(t, c)
	labels := map[string]map[string]bool{}
	for name, f := range families {
		labels[name] = map[string]bool{"instance": true, "job": true}
		for _, l := range f.Metric[0].Label {
			labels[name][l.GetName()] = true
		}
	}
	name := regexp.MustCompile(`\b(hapressure_\w+?)(?:_bucket)?\b(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)\s*(?:=|!=|=~|!~)\s*"`)
	check := func(where, text string) {
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			if labels[m[1]] == nil {
				t.Errorf("%s: there is no %s", where, m[1])
				continue
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !labels[m[1]][l[1]] {
					t.Errorf("%s: %s has no label %s", where, m[1], l[1])
				}
			}
		}
	}
	d := readDashboard(t)
	var shown strings.Builder
	for where, expr := range d.queries() {
		check(where, expr)
		shown.WriteString(expr + "\n")
	}
	for _, v := range d.Templating.List {
		check("variable "+v.Name, v.Definition)
	}
	for _, file := range []string{"prometheus/alerts.yaml", "prometheus/alerts_test.yaml"} {
		b, err := os.ReadFile(filepath.Join(packaging, file))
		if err != nil {
			t.Fatal(err)
		}
		check(file, string(b))
	}
	for _, hidden := range []string{
		"dry_run", "policy_rejected", "pause_ends_timestamp_seconds",
	} {
		delete(families, "hapressure_"+hidden) // for alerts and for people
	}
	for name := range families {
		if !strings.Contains(shown.String(), name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func TestAlerts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs promtool: left out under -short")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Join(packaging, "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v (make setup installs it)\n%s", args, err, out)
		}
	}
}

// TestPrometheusAnswersTheDashboard has a real Prometheus scrape a busy daemon, and asks
// it everything that the dashboard asks.
func TestPrometheusAnswersTheDashboard(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Prometheus: left out under -short")
	}
	c, _ := busy(t)
	target := httptest.NewServer(c.Metrics())
	defer target.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("scrape_configs: [{job_name: hapressure, scrape_interval: 500ms, "+
		"scrape_timeout: 500ms, static_configs: [{targets: [%q]}]}]\n",
		strings.TrimPrefix(target.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", dir, "--web.listen-address", addr,
		"--log.level", "error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make setup installs it)", err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	deadline := time.Now().Add(haproxytest.Deadline)
	for where, expr := range readDashboard(t).queries() {
		for {
			n, err := ask(addr, expr)
			if n > 0 || where == "annotation" && err == nil { // no tier has changed meanwhile
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s: %d series, %v", where, expr, n, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// ask returns how many series an instant query gives.
func ask(addr, expr string) (int, error) {
	resp, err := http.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []any }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, fmt.Errorf("asking Prometheus: %s", answer.Error)
	}
	return len(answer.Data.Result), nil
}
