// Package haproxy examines HAProxy from outside, in master-worker mode or without a
// master, and changes workers that are proven to be stopping. It decides nothing:
// policies do.
//
// A [Scanner] finds instances among the processes of a cgroup. A [Worker] is what a Scan
// found of one worker: its generation, its state with the reason, and the memory that it
// holds. A Worker cannot be changed. [Scanner.Recheck] proves again that it is stopping,
// and returns it as a [Stopping], which can:
//
//	found, err := scanner.Scan(ctx, pids)
//	worker := found[0].Workers[0]
//	stopping, err := scanner.Recheck(ctx, worker)
//	defer stopping.Close()
//	purged, err := stopping.PurgeSSLCache(ctx, pids)
//
// Its connections are cut, and it is ended, only as a [Replaced]: while a younger worker
// serves.
//
//	replaced, err := stopping.Replaced()
//	drained, err := replaced.Drain(ctx, haproxy.Pace{Spread: time.Minute})
//	killed, err := replaced.Terminate(ctx, time.Second)
//
// An action on memory that is not recognised fails with a [*Refusal]; [Permanent] reports
// whether a retry is of use. docs/safety.md has the argument why this is safe, and names
// a test for each claim. The parts: shctx recognises and empties caches, and touches
// nothing; proc pins, reads and freezes one process; cli asks a worker questions.
package haproxy
