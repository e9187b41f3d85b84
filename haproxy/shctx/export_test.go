package shctx

// What tests outside the package see of it.

const LockMost = lockMost

func (l Layout) WithLock(n int) Layout { return l.withLock(n) }
