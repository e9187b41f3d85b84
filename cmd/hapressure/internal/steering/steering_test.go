package steering

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/policy"
)

// files are two files that are not there yet, an hour after the start of a machine.
func files(t testing.TB) Files {
	dir := t.TempDir()
	return Files{
		Mode: filepath.Join(dir, "etc", "mode"), Pause: filepath.Join(dir, "run", "pause"),
		Boot: "this", Now: func() time.Duration { return time.Hour },
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// in writes what is in force for some targets.
func in(f Files) string {
	s := f.Read()
	all, a, b := s.ModeOf("", f.Now()), s.ModeOf("a.service", f.Now()), s.ModeOf("/b", f.Now())
	return fmt.Sprintf("%s %s %s%s", all.InForce, a.InForce, b.InForce, s.Unknown)
}

func TestModesAndPauses(t *testing.T) {
	f := files(t)
	expect := func(want string) {
		t.Helper()
		if got := in(f); got != want {
			t.Errorf("in force: %s, want %s", got, want)
		}
	}
	expect("full full full")
	check(t, f.SetMode("", policy.PurgeOnly))
	check(t, f.SetMode("a.service", policy.Full))
	check(t, f.SetMode("/b", policy.Observe))
	expect("purge-only full observe")
	check(t, f.PauseFor("a.service", time.Minute))
	expect("purge-only observe observe")
	check(t, f.PauseFor("", 0))
	expect("observe observe observe")
	if err := f.Resume("a.service"); !errors.Is(err, ErrAllPaused) {
		t.Errorf("resumed one of all: %v", err)
	}
	check(t, f.Resume(""))
	expect("purge-only full observe")
	check(t, f.Resume("a.service")) // there is no pause
	check(t, f.PauseFor("/b", 0))
	check(t, f.PauseFor("a.service", time.Minute))
	check(t, f.Resume("/b"))
	expect("purge-only observe observe")

	// The time of a pause is that since the start of the machine, whatever the date is.
	later := f
	later.Now = func() time.Duration { return time.Hour + time.Minute }
	f = later
	expect("purge-only full observe")
	check(t, f.PauseFor("", 0))
	rebooted := f
	rebooted.Boot, rebooted.Now = "another", func() time.Duration { return time.Second }
	f = rebooted
	expect("purge-only full observe")

	check(t, f.SetMode("", policy.Full))
	expect("full full full")
}

// A file that is not as a command wrote it, or that other users can write, makes
// hapressure do nothing, and the commands mend it.
func TestFilesThatSayNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const good = `{"boot":"this","pauses":{"":{"since":1,"until":3700000000000}}}`
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, name string) { check(t, os.WriteFile(name, []byte(text), 0o644)) }
	}
	both := map[string]func(*testing.T, string){
		"empty, as a full disk leaves it": write(""),
		"of another user": func(t *testing.T, name string) {
			write("full")(t, name)
			check(t, os.Chown(name, 4242, 0))
		},
		"that others can write": func(t *testing.T, name string) {
			write("full")(t, name)
			check(t, os.Chmod(name, 0o666))
		},
		"without an end": func(t *testing.T, name string) {
			check(t, os.Symlink("/dev/zero", name))
		},
		"a pipe": func(t *testing.T, name string) { check(t, syscall.Mkfifo(name, 0o600)) },
		"a link to itself": func(t *testing.T, name string) {
			check(t, os.Symlink(name, name))
		},
		"in a folder of all users": func(t *testing.T, name string) {
			write("full")(t, name)
			check(t, os.Chmod(filepath.Dir(name), 0o777))
		},
		"too large": write(strings.Repeat("#\n", limit)),
		"binary":    write("\x00\xff\x01"),
	}
	cases := map[string]map[string]func(*testing.T, string){"mode": {
		"another word":    write("obsreve"),
		"only a comment":  write("# full\n"),
		"three words":     write("a.service full now"),
		"twice":           write("full\nobserve\n"),
		"a target alone":  write("a.service\n"),
		"no target":       write("a full\n"),
		"cut in the line": write("purge-"),
	}, "pause": {
		"cut short":     write(good[:len(good)-9]),
		"in the future": write(strings.Replace(good, ":1,", ":3600000000001,", 1)),
		"longer than they are": write(strings.Replace(good, "3700000000000",
			"9000000000000000", 1)),
		"that ends before": write(strings.Replace(strings.Replace(good, ":1,", ":2,", 1),
			"3700000000000", "1", 1)),
		"negative":              write(strings.Replace(good, ":1,", ":-1,", 1)),
		"with more behind it":   write(good + good),
		"with an unknown field": write(strings.Replace(good, "boot", "boots", 1)),
		"of no target":          write(strings.Replace(good, `{"":`, `{"a b":`, 1)),
	}}
	for file := range cases {
		for name, spoil := range both {
			cases[file][name] = spoil
		}
		for name, spoil := range cases[file] {
			t.Run(file+" "+name, func(t *testing.T) {
				f := files(t)
				path := map[string]string{"mode": f.Mode, "pause": f.Pause}[file]
				check(t, os.MkdirAll(filepath.Dir(path), 0o755))
				spoil(t, path)
				s := f.Read()
				if s.Unknown == "" || s.ModeOf("a.service", f.Now()).InForce != policy.Observe {
					t.Fatalf("in force: %s", in(f))
				}
				check(t, os.Chmod(filepath.Dir(path), 0o755))
				if file == "mode" {
					check(t, f.SetMode("", policy.Full))
				} else {
					check(t, f.Resume(""))
				}
				if got := in(f); got != "full full full" {
					t.Errorf("then: %s", got)
				}
			})
		}
	}
}

// A command that was killed while it wrote has changed nothing, and prevents nothing.
func TestKilledCommand(t *testing.T) {
	f := files(t)
	check(t, f.SetMode("", policy.Observe))
	check(t, os.WriteFile(f.Mode+".new", []byte("ful"), 0o644))
	if got := in(f); got != "observe observe observe" {
		t.Errorf("in force: %s", got)
	}
	check(t, f.SetMode("", policy.PurgeOnly))
	if got := in(f); got != "purge-only purge-only purge-only" {
		t.Errorf("in force: %s", got)
	}
}

func TestCommandsAtTheSameTime(t *testing.T) {
	f := files(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			target := fmt.Sprintf("%d.service", i)
			err := errors.Join(f.SetMode(target, policy.Observe), f.PauseFor(target, 0))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s := f.Read(); len(s.Modes) != 20 || len(s.Pauses) != 20 || s.Unknown != "" {
		t.Errorf("%+v", s)
	}
}

func TestFollower(t *testing.T) {
	f := files(t)
	check(t, f.SetMode("", policy.Observe))
	follower, first := Follow(f)
	if first.Modes[""] != policy.Observe {
		t.Errorf("at first: %+v", first)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan controller.Steering, 10)
	done := make(chan struct{})
	go func() { follower.Run(ctx, func(s controller.Steering) { seen <- s }); close(done) }()
	check(t, follower.Reload(ctx)) // nothing has changed
	check(t, f.SetMode("", policy.Full))
	check(t, follower.Reload(ctx))
	if n := len(seen); n != 1 {
		t.Fatalf("steered %d times", n)
	}
	if s := <-seen; !reflect.DeepEqual(s, f.Read()) {
		t.Errorf("steered by %+v", s)
	}
	check(t, f.PauseFor("", 0)) // by a command that is killed before it asks
	if s := <-seen; len(s.Pauses) != 1 {
		t.Errorf("steered by %+v", s)
	}
	cancel()
	<-done
	if err := follower.Reload(ctx); err == nil {
		t.Error("reloads after its end")
	}
}

// FuzzModes: what is read is written again as something that means the same.
func FuzzModes(f *testing.F) {
	f.Add("full")
	f.Add("# The mode\nobserve\nhaproxy@blue.service purge-only # for now\n\n/lb/a full")
	f.Add("a.service  observe\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		modes, err := parseModes(text)
		if err != nil {
			return
		}
		again, err := parseModes(formatModes(modes))
		if err != nil || !reflect.DeepEqual(again, modes) {
			t.Errorf("%q means %v, and was written so that it means %v, %v", text, modes, again,
				err)
		}
	})
}

// FuzzPauses: a pause that is read began, has not ended, and will if it has an end.
func FuzzPauses(f *testing.F) {
	f.Add([]byte(`{"boot":"this","pauses":` +
		`{"":{"since":1,"until":3700000000000},"/lb/x":{"since":5,"until":0}}}`))
	f.Add([]byte(`{"boot":"that","pauses":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		files := Files{Boot: "this", Now: func() time.Duration { return time.Hour }}
		pauses, err := files.parsePauses(text)
		for target, p := range pauses {
			if err != nil || p.Since < 0 || p.Since > time.Hour ||
				p.Until != 0 && (p.Until <= time.Hour || p.Until > time.Hour+MaxPause) ||
				target != "" && CheckTarget(target) != nil {
				t.Errorf("%q: %q %+v, %v", text, target, p, err)
			}
		}
	})
}
