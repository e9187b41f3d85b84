package top

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"hapressure/cmd/hapressure/internal/playback"
	"hapressure/policy/record"
	"hapressure/tests/golden"
)

// recorded reads the recording of a real HAProxy.
var recorded = sync.OnceValues(func() (*playback.Recording, error) {
	f, err := os.Open("../playback/testdata/haproxy-2.6.12.rec")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := record.NewReader(f)
	recording := &playback.Recording{}
	for err == nil {
		var e record.Event
		if e, err = r.Next(); err == nil {
			err = recording.Add(e)
		}
	}
	if err != io.EOF {
		return nil, err
	}
	return recording, nil
})

// replayed returns a model that shows the beginning of that recording.
func replayed(t testing.TB) *Model {
	t.Helper()
	recording, err := recorded()
	if err != nil {
		t.Fatal(err)
	}
	m := New()
	m.begin(recording)
	return m
}

func TestReplayPictures(t *testing.T) {
	for name, tt := range map[string]struct {
		width, height int
		keys          string
	}{
		"80x24":   {80, 24, ". ."},
		"120x40":  {120, 40, "End"},
		"200x60":  {200, 60, "End Down"},
		"ascii":   {80, 24, ". . ."},
		"detail":  {80, 24, "End Enter"},
		"start":   {80, 24, ""},
		"hour":    {120, 40, "End z"},
		"playing": {60, 12, "Space + + +"},
	} {
		m := replayed(t)
		m.ASCII = name == "ascii"
		press(m, tt.keys)
		golden.Check(t, "testdata/replay-"+name+".txt", picture(t, m, tt.width, tt.height))
	}
}

// Playing moves by the time that has passed, times the speed, until the end.
func TestPlay(t *testing.T) {
	m := replayed(t)
	press(m, "Space")
	m.pass(2 * time.Second)
	if since := m.travel.at.Sub(m.travel.from); since != 2*time.Second {
		t.Errorf("2s of playing moved by %v", since)
	}
	press(m, "+ + +")
	m.pass(2 * time.Second)
	if since := m.travel.at.Sub(m.travel.from); since != 22*time.Second {
		t.Errorf("2s of playing 10 times faster moved by %v", since-2*time.Second)
	}
	press(m, "Space")
	m.pass(time.Hour)
	if since := m.travel.at.Sub(m.travel.from); since != 22*time.Second {
		t.Errorf("it moved by %v while it was paused", since)
	}
	press(m, "Space")
	m.pass(time.Hour)
	if m.travel.at != m.travel.to || m.travel.playing {
		t.Errorf("at %s, playing: %v", m.travel.at, m.travel.playing)
	}
}

// While recordings are read, the screen shows how far that is, and q quits.
func TestLoading(t *testing.T) {
	recording := replayed(t).recording
	further, left := make(chan struct{}), make(chan error, 1)
	m := New()
	m.Load = func(ctx context.Context, progress func(string)) (*playback.Recording, error) {
		progress("a.rec: 1000 samples")
		<-further
		return recording, nil
	}
	s := perform(t, m)
	s.sees("reading a.rec: 1000 samples")
	close(further)
	s.sees("proxy.slice/lb")

	quits := New()
	quits.Load = func(ctx context.Context, progress func(string)) (*playback.Recording, error) {
		progress("b.rec: 2000 samples")
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	}
	s = perform(t, quits)
	s.sees("reading b.rec: 2000 samples")
	s.press("q")
	<-s.ended
	<-left
}

// An error of reading ends the view.
func TestLoadingFails(t *testing.T) {
	m, bad := New(), errors.New("b.rec: bad")
	m.Load = func(context.Context, func(string)) (*playback.Recording, error) { return nil, bad }
	s := simulated(t, "UTF-8", 80, 24)
	defer s.Fini()
	if err := m.Run(t.Context(), s); err != bad {
		t.Errorf("%v", err)
	}
}

// Steps visit each sample once, forward and back. A step from between two samples goes to
// the next one.
func TestSteps(t *testing.T) {
	at := time.Unix(1000, 0)
	times := []time.Time{at, at.Add(1), at.Add(1), at.Add(5)}
	tr := travel{from: at, to: at.Add(5), at: at}
	for _, step := range []struct{ steps, want int }{
		{-1, 0}, {1, 1}, {1, 5}, {1, 5}, {-1, 1}, {-1, 0},
	} {
		if tr.jump(times, step.steps); tr.at.Sub(at) != time.Duration(step.want) {
			t.Errorf("%d from there goes to %d, want %d", step.steps, tr.at.Sub(at), step.want)
		}
	}
	tr.at = at.Add(3)
	if tr.jump(times, 1); tr.at.Sub(at) != 5 {
		t.Errorf("from between two it goes to %d", tr.at.Sub(at))
	}
}
