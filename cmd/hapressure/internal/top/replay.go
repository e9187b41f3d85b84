package top

import (
	"time"

	"hapressure/cmd/hapressure/internal/playback"
)

// replays reports whether a recording is shown.
func (m *Model) replays() bool { return m.recording != nil }

// begin shows the beginning of a recording.
func (m *Model) begin(r *playback.Recording) {
	m.recording, m.loading = r, ""
	m.travel.from, m.travel.to = m.recording.From, m.recording.To
	m.travelTo(m.travel.from)
}

// travelTo shows the recording as of a time.
func (m *Model) travelTo(at time.Time) {
	m.travel.seek(at)
	m.learn(answer{status: m.recording.At(m.travel.at, spans[m.span])}, m.travel.at)
}

// travelBy moves by a time.
func (m *Model) travelBy(d time.Duration) { m.travelTo(m.travel.at.Add(d)) }

// jump moves to the next or previous of times of the recording.
func (m *Model) jump(times []time.Time, steps int) {
	m.travel.playing = false
	m.travel.jump(times, steps)
	m.travelTo(m.travel.at)
}

// samples returns the times of the samples of the target that is shown.
func (m *Model) samples() []time.Time { return m.recording.Samples(m.target) }

// events returns the times of its changes of tier and of its actions.
func (m *Model) events() []time.Time { return m.recording.Events(m.target) }

// play plays or pauses. At the end it plays from the start.
func (m *Model) play() {
	m.travel.playing = !m.travel.playing
	if m.travel.playing && !m.travel.at.Before(m.travel.to) {
		m.travelTo(m.travel.from)
	}
}

// pass plays on for a time in reality.
func (m *Model) pass(d time.Duration) {
	if m.travel.playing {
		m.travel.pass(d)
		m.travelTo(m.travel.at)
	}
}

// speed plays faster or slower.
func (m *Model) speed(steps int) {
	m.travel.speed = max(0, min(m.travel.speed+steps, len(speeds)-1))
}

// zoom has the charts cover more time or less.
func (m *Model) zoom(steps int) {
	m.span = max(0, min(m.span+steps, len(spans)-1))
	m.travelTo(m.travel.at)
}
