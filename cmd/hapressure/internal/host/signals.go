package host

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// UntilSignal returns a context that ends at the first SIGTERM or SIGINT, so that a
// command can clean up. A second signal ends the program at once, even if it is blocked.
// A command that has nothing to clean up does not catch the signals: the kernel ends it.
func UntilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
