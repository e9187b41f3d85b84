package haproxy

// Protected is the oom_score_adj of a worker before and after Protect.
type Protected struct{ Before, After int }

// Protect protects other processes from the kernel's OOM killer: it raises the
// oom_score_adj of the worker to adj (proc_pid_oom_score_adj(5)), so that the kernel
// kills it before them, if it must kill. A higher value stays, and it is never lowered: a
// stopping worker never serves again. Connections are not touched.
func (s *Stopping) Protect(adj int) (Protected, error) {
	before, err := s.p.RaiseOOMScoreAdj(adj, s.w.exe)
	return Protected{before, max(before, adj)}, notStopping(err)
}
