// Package recordings makes recordings and replays them.
package recordings

import (
	"context"
	"io"
	"math"

	"hapressure/controller"
)

// NopCloser is a writer whose Close does nothing.
type NopCloser struct{ io.Writer }

func (NopCloser) Close() error { return nil }

// Record records to w until ctx ends or a write fails.
func Record(ctx context.Context, w io.Writer, config controller.Config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := make(chan error, 1)
	to := NopCloser{watchedWriter{w, func(err error) {
		select {
		case failed <- err:
			cancel(err)
		default: // an earlier write has failed
		}
	}}}
	config.Record, config.RecordSize = func(string) io.WriteCloser { return to }, math.MaxInt64
	controller.New(config).Run(ctx)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// watchedWriter calls failed with the error of each write.
type watchedWriter struct {
	io.Writer
	failed func(error)
}

func (w watchedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		w.failed(err)
	}
	return n, err
}
