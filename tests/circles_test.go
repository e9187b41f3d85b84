package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Inside a package, no file uses what another declares if that one uses the first:
// a package reads from the top to the bottom.
func TestFilesFormNoCircles(t *testing.T) {
	for _, dir := range productPackages(t) {
		g := newFileGraph(t, dir)
		up := g.arrowsUp()
		circles := g.circles()
		t.Logf("%s: %d files, %d arrows, %d run up, circles %v",
			strings.TrimPrefix(dir, "../"), len(g.files), g.arrows(), up, circles)
		if len(circles) > 0 {
			t.Errorf("%s: these files use each other: %v", dir, circles)
		}
	}
}

// productPackages are the folders of the product's packages.
func productPackages(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"tests", "testdata", ".git"}, entry.Name()):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			found[filepath.Dir(name)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(found))
}

// fileGraph has an arrow from a file to each other file that declares what it uses.
type fileGraph struct {
	files []string
	uses  map[string]map[string]bool
}

// newFileGraph checks the types of one package. What it imports stays unknown,
// so uses that only the type of an imported value shows are not seen.
func newFileGraph(t *testing.T, dir string) fileGraph {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	g := fileGraph{uses: map[string]map[string]bool{}}
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
		g.files = append(g.files, filepath.Base(name))
		g.uses[filepath.Base(name)] = map[string]bool{}
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: unknown{}, Error: func(error) {}, FakeImportC: true}
	pkg, _ := conf.Check(dir, set, parsed, info)
	for ident, object := range info.Uses {
		if object.Pkg() != pkg || !shared(object) {
			continue
		}
		from := filepath.Base(set.Position(ident.Pos()).Filename)
		to := filepath.Base(set.Position(object.Pos()).Filename)
		if from != to {
			g.uses[from][to] = true
		}
	}
	return g
}

// shared reports whether files can use an object of each other: a declaration
// of the package, a method or a field.
func shared(object types.Object) bool {
	if variable, ok := object.(*types.Var); ok && variable.IsField() {
		return true
	}
	if function, ok := object.(*types.Func); ok && function.Signature().Recv() != nil {
		return true
	}
	return object.Parent() == object.Pkg().Scope()
}

// unknown imports every package as an empty one.
type unknown struct{}

func (unknown) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}

func (g fileGraph) arrows() int {
	n := 0
	for _, to := range g.uses {
		n += len(to)
	}
	return n
}

// circles are the groups of files in which each file leads to each other.
func (g fileGraph) circles() [][]string {
	reach := map[string]map[string]bool{}
	for _, file := range g.files {
		reach[file] = map[string]bool{}
		g.walk(file, reach[file])
	}
	var found [][]string
	seen := map[string]bool{}
	for _, a := range g.files {
		var group []string
		for _, b := range g.files {
			if !seen[b] && reach[a][b] && reach[b][a] {
				group = append(group, b)
			}
		}
		for _, file := range group {
			seen[file] = true
		}
		if len(group) > 1 {
			found = append(found, group)
		}
	}
	return found
}

func (g fileGraph) walk(file string, reached map[string]bool) {
	for next := range g.uses[file] {
		if !reached[next] {
			reached[next] = true
			g.walk(next, reached)
		}
	}
}

// arrowsUp counts the arrows against an order of the files that has few of them:
// the file with the largest surplus of arrows out over arrows in comes next
// (Eades, Lin and Smyth, 1993).
func (g fileGraph) arrowsUp() int {
	left := slices.Clone(g.files)
	place := map[string]int{}
	surplus := func(file string) int {
		n := 0
		for _, other := range left {
			if g.uses[file][other] {
				n++
			}
			if g.uses[other][file] {
				n--
			}
		}
		return n
	}
	for len(left) > 0 {
		next := slices.MaxFunc(left, func(a, b string) int { return surplus(a) - surplus(b) })
		place[next] = len(place)
		left = slices.DeleteFunc(left, func(file string) bool { return file == next })
	}
	up := 0
	for from, all := range g.uses {
		for to := range all {
			if place[from] > place[to] {
				up++
			}
		}
	}
	return up
}
