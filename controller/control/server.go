// Package control is the daemon's control socket: HTTP over a Unix socket, for root and
// the members of a group.
//
//	GET  /v1/status                                     status.Status
//	POST /v1/purge?target=NAME&pid=PID[&dry-run=true]   status.Purge
//	POST /v1/make-room?[target=NAME][&reloads=2][&timeout=20s]   status.Room
//	POST /v1/reload                                     the error has the mistakes
//	GET  /v1/mode                                       status.Steering
//	POST /v1/mode                                       status.Steering, files read again
//	GET  /metrics                                       for Prometheus
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hapressure/controller"
)

// Dir is the folder of the service's socket and persisted states.
const Dir = "/run/hapressure"

// Socket is the path of the daemon's socket.
const Socket = Dir + "/control.sock"

// Bounds of what clients may use.
const (
	maxConnections = 64      // in all; see maxOfUser
	maxHeader      = 8 << 10 // bytes
	requestTime    = 5 * time.Second
	answerTime     = 60 * time.Second // a purge waits for one that runs
)

// Bounds of a request for room. It is answered within answerTime, and before systemd
// kills a reload that takes longer than TimeoutStartSec=, 90 s by default: then the
// reload has failed.
const (
	maxReloads     = 1000
	maxRoomTimeout = 50 * time.Second
	minRoomTimeout = 100 * time.Millisecond
	// The defaults: a reload needs room for the check of the configuration and the new
	// worker.
	RoomReloads = 2.0
	RoomTimeout = 20 * time.Second
)

// Reload has files read again and what they say put in force. Functions may be nil.
type Reload struct {
	Policy func(context.Context) error // the error is the mistakes
	Mode   func(context.Context) error
}

// Handler answers for a controller: to root, to the user of this process, and to members
// of Group. It answers no client whose user is unknown, as over TCP. metrics may be nil.
func Handler(c *controller.Controller, reload Reload, metrics http.Handler) http.Handler {
	return guarded(routes(c, reload, metrics))
}

func routes(c *controller.Controller, reload Reload, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	if reload.Policy != nil {
		mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
			if err := reload.Policy(r.Context()); err != nil {
				answer(w, http.StatusUnprocessableEntity, failure{err.Error()})
				return
			}
			answer(w, http.StatusOK, struct{}{})
		})
	}
	mux.HandleFunc("GET /v1/mode", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, c.Modes())
	})
	if reload.Mode != nil {
		mux.HandleFunc("POST /v1/mode", func(w http.ResponseWriter, r *http.Request) {
			if err := reload.Mode(r.Context()); err != nil {
				answer(w, http.StatusServiceUnavailable, failure{err.Error()})
				return
			}
			answer(w, http.StatusOK, c.Modes())
		})
	}
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, c.State(r.Context()))
	})
	mux.HandleFunc("POST /v1/purge", func(w http.ResponseWriter, r *http.Request) {
		o, err := readOrder(r.URL.Query())
		if err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		done, err := c.Purge(r.Context(), o.target, o.pid, o.dryRun, askedBy(r))
		switch {
		case errors.Is(err, controller.ErrNoWorker):
			answer(w, http.StatusNotFound, failure{err.Error()})
		case err != nil:
			answer(w, http.StatusServiceUnavailable, failure{err.Error()})
		default:
			answer(w, http.StatusOK, done)
		}
	})
	mux.HandleFunc("POST /v1/make-room", func(w http.ResponseWriter, r *http.Request) {
		request, err := readRoomRequest(r.URL.Query())
		if err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		request.By = askedBy(r)
		room, err := c.MakeRoom(r.Context(), request)
		switch {
		case errors.Is(err, controller.ErrNoTarget):
			answer(w, http.StatusNotFound, failure{err.Error()})
		case err != nil:
			answer(w, http.StatusServiceUnavailable, failure{err.Error()})
		default:
			answer(w, http.StatusOK, room)
		}
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// askedBy says who makes a request, for the journal.
func askedBy(r *http.Request) string {
	if p, ok := r.Context().Value(peerKey{}).(peer); ok {
		return fmt.Sprintf("asked for by user %d", p.uid)
	}
	return "asked for by hand"
}

// CheckRoom checks the bounds of a request for room.
func CheckRoom(r controller.RoomRequest) error {
	if !(r.Reloads > 0 && r.Reloads <= maxReloads) {
		return fmt.Errorf("%v reloads: write a number above 0, up to %d", r.Reloads, maxReloads)
	}
	if r.Timeout < minRoomTimeout || r.Timeout > maxRoomTimeout {
		return fmt.Errorf("a timeout of %v: write a time from %v to %v", r.Timeout,
			minRoomTimeout, maxRoomTimeout)
	}
	return nil
}

func readRoomRequest(q url.Values) (r controller.RoomRequest, err error) {
	r.Reloads, r.Timeout = RoomReloads, RoomTimeout
	for key, values := range q {
		switch {
		case len(values) != 1:
			return r, fmt.Errorf("%q is given more than once", key)
		case key == "target":
			r.Target = values[0]
		case key == "reloads":
			if r.Reloads, err = strconv.ParseFloat(values[0], 64); err != nil {
				return r, fmt.Errorf("reloads: %q is not a number", values[0])
			}
		case key == "timeout":
			if r.Timeout, err = time.ParseDuration(values[0]); err != nil {
				return r, fmt.Errorf("timeout: %q is not a time such as 20s", values[0])
			}
		default:
			return r, fmt.Errorf("unknown parameter %q: known are target, reloads, timeout", key)
		}
	}
	return r, CheckRoom(r)
}

type order struct {
	target string
	pid    int
	dryRun bool
}

func readOrder(q url.Values) (o order, err error) {
	for key, values := range q {
		switch {
		case len(values) != 1:
			return o, fmt.Errorf("%q is given more than once", key)
		case key == "target":
			o.target = values[0]
		case key == "pid":
			if o.pid, err = strconv.Atoi(values[0]); err != nil || o.pid <= 0 {
				return o, fmt.Errorf("pid: %q is not the number of a process", values[0])
			}
		case key == "dry-run":
			if o.dryRun, err = strconv.ParseBool(values[0]); err != nil {
				return o, fmt.Errorf("dry-run: %q is neither true nor false", values[0])
			}
		default: // a misspelt dry-run must not purge
			return o, fmt.Errorf("unknown parameter %q: known are target, pid, dry-run", key)
		}
	}
	if o.target == "" || o.pid == 0 {
		return o, errors.New("target and pid are needed")
	}
	return o, nil
}

// failure is the answer if the request failed.
type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

// Serve answers on a listener until ctx ends.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	if u, ok := l.(*net.UnixListener); ok {
		l = &peers{UnixListener: u, open: map[int]int{}}
	}
	s := &http.Server{
		Handler: h, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: requestTime,
		MaxHeaderBytes: maxHeader,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.RemoteAddr())
		},
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	err := s.Serve(limited{l, make(chan struct{}, maxConnections)})
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

// guarded checks the client again, although the socket's mode should have kept others
// out: the mode may have been changed, or another program may have made the socket.
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		if !ok || !p.allowed() {
			answer(w, http.StatusForbidden,
				failure{"only root and members of the group " + Group + " may ask"})
			return
		}
		h.ServeHTTP(w, r)
	})
}
