package statustest

import (
	"math"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

var Noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func Before(d time.Duration) time.Time { return Noon.Add(-d) }

// Storm is a target in trouble with that many workers, all but the last of which are
// stopping.
func Storm(name string, workers int) status.Target {
	value := func(v float64) policy.Reading { return policy.Reading{Value: v} }
	t := status.Target{
		Name: name, Cgroup: "/system.slice/" + name, At: Noon,
		Tier: 2, Tiers: []string{"purge", "shorten", "terminate"},
		TierSince: new(Before(130 * time.Second)),
		TierWhy:   "reload-room 0.4 < 1 under memory.max (true for 3s of 3s); not met: usage 84% <= 85% of memory.max",
		TierLeave: "usage below 75% for 1m: usage 91% >= 75% of memory.max",
		Thresholds: []status.Threshold{
			{Tier: 1, Signal: policy.ReloadRoom, Below: true, Value: 2, Alone: true},
			{Tier: 1, Signal: policy.Usage, Value: 70, Alone: true},
			{Tier: 1, Signal: policy.Pressure, Of: "some", Value: 5, Alone: true},
			{Tier: 2, Signal: policy.Usage, Value: 85, Alone: true},
			{Tier: 2, Signal: policy.Pressure, Of: "full", Value: 5, Alone: true},
			{Tier: 3, Signal: policy.Usage, Value: 95, Alone: true},
			{Tier: 3, Signal: policy.Pressure, Of: "full", Value: 20, Alone: true},
		},
		Withheld: []status.Withheld{}, RoomRequests: []status.RoomRequest{},
		Limit: status.Limit{Name: "/system.slice/haproxy.service memory.max", Bytes: 1 << 30,
			Used: 930 << 20},
		UsageLimit: status.Limit{Name: "/system.slice/haproxy.service memory.max", Bytes: 1 << 30,
			Used: 930 << 20},
		Usage: value(91), ReloadRoom: value(0.4), LimitIn: value(42),
		Some10: value(7.21), Some60: value(3.1), Full10: value(1.13), Full60: value(0.4),
		Swap:  value(120 << 20),
		Shmem: value(700 << 20), Sock: value(3 << 20),
		Events: map[string]policy.Reading{"high": value(1203), "max": value(4),
			"oom": value(1), "oom_kill": value(1), "low": value(0)},
		Missing:       map[string]string{},
		HardStopAfter: new(300.0),
	}
	m := status.Master{PID: 811, HardStopAfter: new(1800.0)}
	for i := range workers {
		w := status.Worker{PID: 812 + 37*i, Generation: i + 1, State: "stopping",
			Proof: "Stopping: 1", Age: float64(7600 - 600*i),
			StoppingFor: new(float64(7000 - 600*i)), HardStopIn: new(max(0, float64(300-100*i))),
			Connections: new(240 - 20*i),
			Cache:       new(uint64(237 << 20)), Private: new(uint64(96-3*i) << 20),
			Shared: new(uint64(240 << 20)), Swapped: new(uint64(i) << 20),
			MappedFiles: new(uint64(9 << 20)), Kernel: new(uint64(1 << 20)),
			OpenFiles: new(300 - 20*i)}
		if i%3 == 0 {
			w.Cache = new(uint64(4096))
		}
		if i == workers-1 {
			w.State, w.StoppingFor, w.HardStopIn, w.Cache = "current", nil, nil, nil
		}
		m.Workers = append(m.Workers, w)
	}
	t.Masters = []status.Master{m}
	old := uint64(workers - 1)
	t.Stopping = status.Memory{
		Workers: workers - 1, Cache: old * 150 << 20, Private: old * 81 << 20,
		Swapped: old * 5 << 20, OtherShared: old * 3 << 20, Kernel: old << 20, OpenFiles: 2000,
	}
	t.Actions = []status.Action{
		{At: Before(200 * time.Second), Tier: "purge", Action: "purge-ssl-cache", PID: 775,
			Result: policy.Done, Freed: 237 << 20,
			What: "freed 237 MiB; its threads were frozen for 85µs"},
		{At: Before(120 * time.Second), Tier: "purge", Action: "purge-ssl-cache", PID: 812,
			Result: policy.Done, Freed: 237 << 20,
			What: "freed 237 MiB; its threads were frozen for 91µs"},
		{At: Before(90 * time.Second), Tier: "purge", Action: "trim-pools", PID: 812,
			Result: policy.Done, What: "freed nothing"},
		{At: Before(61 * time.Second), Tier: "purge", Action: "purge-ssl-cache", PID: 849,
			Result: policy.Refused, What: "refused",
			Error: "purging the TLS session cache of 849: the mapping is shared with process 77, which is none of its siblings"},
		{At: Before(60 * time.Second), Tier: "shorten", Action: "hard-stop-after", PID: 701,
			Result: policy.Done, What: "20 sessions shut down and the worker ended, freed 96 MiB"},
		{At: Before(5 * time.Second), Tier: "by hand", Action: "purge-ssl-cache", PID: 923,
			Result: policy.Failed, What: "failed", Error: "a thread did not stop"},
	}
	for i := range 300 {
		used := 0.35 + 0.55*math.Abs(math.Sin(float64(i)/70)) + 0.02*math.Sin(float64(i))
		moment := status.Moment{At: Before(time.Duration(299-i) * 2 * time.Second),
			Used: uint64(used * (1 << 30)), Limit: 1 << 30,
			Some: value(30 * math.Max(0, math.Sin(float64(i)/50))),
			Full: value(12 * math.Max(0, math.Sin(float64(i)/50)-0.5))}
		switch {
		case used > 0.85:
			moment.Tier = 2
		case used > 0.7:
			moment.Tier = 1
		}
		t.History = append(t.History, moment)
	}
	return t
}

// Status is the answer of a daemon with these targets.
func Status(targets ...status.Target) status.Status {
	return status.Status{
		At: Noon, Daemon: &status.Daemon{Version: "1.0.0", PID: 700,
			Started: Before(3 * 24 * time.Hour)},
		Policy: status.Policy{Origin: "the built-in policy, /etc/hapressure/policy.d/site.yaml",
			Since: Before(26 * time.Hour)}, Targets: targets,
	}
}

// Calm is a target that is well, just after start.
func Calm() status.Target {
	t := Storm("haproxy.service", 1)
	t.TierLeave = ""
	t.Tier, t.TierSince, t.TierWhy, t.Actions, t.HardStopAfter, t.Events, t.Swap = 0, nil, "", nil,
		nil, nil, policy.Reading{}
	t.Masters[0].HardStopAfter, t.LimitIn = nil, policy.Reading{Absent: policy.NotRising}
	t.Limit.Used, t.ReloadRoom.Value, t.Some10.Value, t.Full10.Value, t.Some60.Value,
		t.Full60.Value = 310<<20, 2.6, 0, 0, 0, 0
	t.History = t.History[280:]
	return t
}

// Crowded is a target on a host that is short of memory, of which it holds little.
func Crowded() status.Target {
	t := Storm("haproxy.service", 3)
	t.TierWhy = "usage 95.04% > 85% of the host's memory (true for 3s of 3s); not met: reload-room 2.4 >= 1.5 under memory.max"
	t.TierLeave = "usage below 75% for 1m: usage 95.04% >= 75% of the host's memory"
	t.RoomRequests = []status.RoomRequest{{Since: Before(3 * time.Second),
		Until: Noon.Add(17 * time.Second), Reloads: 4, By: "asked for by user 0"}}
	t.Withheld = []status.Withheld{{Tier: "shorten", Action: "hard-stop-after",
		Since: Before(130 * time.Second), Held: 16 << 20,
		Why: "hard-stop-after of tier shorten is withheld: stopping workers hold 16MiB, 0.53% of the host's memory; less than 5% is not worth cutting connections for"}}
	t.Limit.Used, t.Usage, t.ReloadRoom, t.LimitIn = 113<<20, policy.Reading{Value: 95.04},
		policy.Reading{Value: 2.4}, policy.Reading{Absent: policy.NotRising}
	t.UsageLimit = status.Limit{Name: "MemAvailable", Bytes: 3 << 30, Used: 2920 << 20}
	for i := range t.Masters[0].Workers {
		w := &t.Masters[0].Workers[i]
		w.Cache, w.Private = new(uint64(4096)), new(uint64(8<<20))
	}
	t.Actions = nil
	return t
}

// Blind is a target of which little can be read, with names that a terminal must not see.
func Blind() status.Target {
	none := policy.Reading{Absent: "memory.pressure: no such file in this cgroup"}
	t := Storm("/lb\x1b]0;gotcha\a\nfake", 3)
	t.Some10, t.Some60, t.Full10, t.Full60, t.ReloadRoom = none, none, none, none,
		policy.Reading{Absent: "the current worker's memory is not known"}
	t.Missing = map[string]string{"memory.pressure": "no such file in this cgroup",
		"memory.events": "no such file in this cgroup"}
	t.Events, t.WorkersAbsent = nil, "haproxy: the master executes itself again\x1b[2J"
	m := &t.Masters[0]
	m.CLIError, m.HardStopError, m.HardStopAfter = "it has not answered an earlier question",
		"reading /etc/haproxy/haproxy.cfg: permission denied", nil
	for i := range m.Workers {
		w := &m.Workers[i]
		w.State, w.Connections, w.ConnError, w.StoppingFor, w.HardStopIn, w.Cache = "unknown", nil,
			m.CLIError, nil, nil, nil
	}
	t.History = nil
	return t
}
