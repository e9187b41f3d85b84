package guest

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// stream takes what the guest writes to its first port. A NUL byte is a mark:
// the guest is ready, or the script's output has ended. It accepts all bytes,
// also if live fails: otherwise the guest would wait.
type stream struct {
	mark chan struct{} // gets one value a mark

	mu   sync.Mutex
	all  strings.Builder
	live io.Writer
}

func newStream() *stream { return &stream{mark: make(chan struct{}, 16)} }

// begin drops what was kept, for the output of another script.
func (s *stream) begin(live io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Reset()
	s.live = live
}

func (s *stream) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := p; len(rest) > 0; {
		text, after, marked := bytes.Cut(rest, []byte{0})
		s.add(text)
		if marked {
			s.mark <- struct{}{}
		}
		rest = after
	}
	return len(p), nil
}

func (s *stream) add(text []byte) {
	s.all.Write(text)
	if s.live == nil || len(text) == 0 {
		return
	}
	if _, err := s.live.Write(text); err != nil {
		s.live = nil
	}
}
