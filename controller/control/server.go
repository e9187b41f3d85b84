// Package control is the daemon's control socket: HTTP over a Unix socket, for root and the members of a group.
//
//	GET  /v1/status                                      status.Status
//	POST /v1/purge?target=NAME&pid=PID[&dry-run=true]    status.Purge
//	POST /v1/reload                                      reads the policy's files anew; its error is what is wrong with them
//	GET  /metrics                                        for Prometheus
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

	"golang.org/x/net/netutil"

	"hapressure/controller"
)

// Socket is where the daemon listens.
const Socket = "/run/hapressure/control.sock"

// Group is the group whose members may use the socket beside root.
const Group = "hapressure"

// Bounds of what clients may ask of us.
const (
	maxConnections = 64
	maxOfUser      = 16      // of them: nobody can keep others waiting
	maxHeader      = 8 << 10 // bytes
	requestTime    = 5 * time.Second
	answerTime     = 60 * time.Second // a purge waits for one that is under way
)

// Handler answers for a controller, to root, our own user and members of Group alone: to nobody where the connection does not tell who
// that is, as over TCP. reload reads the policy's files; it and metrics may be nil.
func Handler(c *controller.Controller, reload func(context.Context) error, metrics http.Handler) http.Handler {
	return guarded(routes(c, reload, metrics))
}

func routes(c *controller.Controller, reload func(context.Context) error, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	if reload != nil {
		mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
			if err := reload(r.Context()); err != nil {
				answer(w, http.StatusUnprocessableEntity, failure{err.Error()})
				return
			}
			answer(w, http.StatusOK, struct{}{})
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
		why := "asked for by hand"
		if p, ok := r.Context().Value(peerKey{}).(peer); ok {
			why = fmt.Sprintf("asked for by user %d", p.uid)
		}
		done, err := c.Purge(r.Context(), o.target, o.pid, o.dryRun, why)
		switch {
		case errors.Is(err, controller.ErrNoWorker):
			answer(w, http.StatusNotFound, failure{err.Error()})
		case err != nil:
			answer(w, http.StatusServiceUnavailable, failure{err.Error()})
		default:
			answer(w, http.StatusOK, done)
		}
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
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

// failure is the answer where there is none.
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
		Handler: h, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: requestTime, MaxHeaderBytes: maxHeader,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.RemoteAddr())
		},
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

// guarded lets pass whom the socket's mode should have let pass: it may have been changed, or be a socket of somebody else's making.
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		if !ok || !p.allowed() {
			answer(w, http.StatusForbidden, failure{"only root and members of the group " + Group + " may ask"})
			return
		}
		h.ServeHTTP(w, r)
	})
}
