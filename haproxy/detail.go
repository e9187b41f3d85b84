package haproxy

import (
	"context"
	"errors"
	"os"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
	"hapressure/haproxy/shctx"
)

// Contents is what a worker's configuration holds.
type Contents = cli.Contents

// Detail is what makes up the memory of a stopping worker. Sizes are in bytes.
type Detail struct {
	HTTPCaches   uint64 // of its shared memory, that of `cache` sections
	HugePages    uint64 // of its private memory in RAM, that in transparent huge pages
	PoolsHeld    uint64 // of its private memory, what HAProxy's memory pools hold
	PoolsUsed    uint64 // of that, what objects use: connections, buffers, streams
	Contents     Contents
	MemoryErr    error // why HTTPCaches or HugePages is unknown
	QuestionsErr error // why the others are unknown
}

// Detail finds out what makes up the worker's memory. It walks all page tables of the
// process and asks it six questions, so it is for a user and not for each tick. Only
// stopping workers are examined so; of others both errors are set.
func (w *Worker) Detail(ctx context.Context) (d Detail) {
	if w.State != StateStopping {
		return Detail{MemoryErr: errNotAsked, QuestionsErr: errNotAsked}
	}
	procfs, id := w.procfs, w.ID
	walked, err := proc.Through(ctx, w.reads, func() (d Detail, err error) {
		p, err := proc.Open(procfs, id)
		if err != nil {
			return d, err
		}
		defer p.Close()
		rollup, err := p.Rollup()
		if err == nil {
			d.HugePages = rollup.HugePages
			d.HTTPCaches, err = httpCaches(p)
		}
		return d, err
	})
	d.HTTPCaches, d.HugePages, d.MemoryErr = walked.HTTPCaches, walked.HugePages, err
	if w.cli == nil {
		d.QuestionsErr = errNoMaster
		return d
	}
	info, err := w.cli.Info(ctx)
	if err == nil {
		d.PoolsHeld, d.PoolsUsed = info.PoolsHeld, info.PoolsUsed
		d.Contents, err = w.cli.Contents(ctx)
	}
	d.QuestionsErr = err
	return d
}

// httpCaches returns the bytes that the HTTP caches of the process hold, if their layout
// is known.
func httpCaches(p *proc.Process) (sum uint64, err error) {
	maps, err := sharedMappings(p)
	if err != nil {
		return 0, err
	}
	isCode, err := p.Code()
	if err != nil {
		return 0, err
	}
	for _, m := range maps {
		c, err := openCache(p, m, os.O_RDONLY, shctx.Memory.HTTPCache, isCode)
		if errors.As(err, new(*Refusal)) {
			continue
		}
		if err != nil {
			return sum, err
		}
		n, err := c.Resident()
		c.Close()
		if err != nil {
			return sum, err
		}
		sum += n
	}
	return sum, nil
}
