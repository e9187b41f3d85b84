package controller

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/systemd"
)

// Identifier is the SYSLOG_IDENTIFIER of every entry, and FieldPrefix begins the names of
// its fields.
const (
	Identifier  = "hapressure"
	FieldPrefix = "HAPRESSURE_"
)

// A Kind of journal entry.
type Kind int

// The kinds. Their MESSAGE_IDs, by which journalctl finds entries, never change.
const (
	TierChanged Kind = iota
	Action
	Refused
	Failed
	Withheld
	WorkerStuck
	MakeRoom
	TargetFound
	TargetLost
	SensorMissing
	StorageFailed
	ConnectionChanged
	RightMissing
	HookFailed
	PolicyLoaded
	PolicyRejected
	ModeChanged
	Paused
	Resumed
	Started
	Stopped
)

// Priorities as of syslog(3).
const (
	logErr     = 3
	logWarning = 4
	logNotice  = 5
	logInfo    = 6
)

// actionFields are those of the kinds that report an action.
const actionFields = "TARGET TIER ACTION RESULT WORKER_PID GENERATION FREED_BYTES DURATION_USEC " +
	"HELD_USEC STALL_USEC SESSIONS REASON ERROR"

// kindRow describes a Kind.
type kindRow struct {
	name     string // as "hapressure events --json" prints it
	id       string // MESSAGE_ID
	priority int    // of syslog(3)
	limited  bool   // may repeat while something stays wrong, or comes and goes
	fields   string // without FieldPrefix
	subject  string
	text     string // for the message catalog; a blank line separates paragraphs
}

// kinds has a row for each Kind. In subject and text, @X@ stands for the value of
// HAPRESSURE_X. packaging/hapressure.catalog and the table in docs/logging.md are
// generated from it.
var kinds = [...]kindRow{
	TierChanged: {
		name: "tier-changed", id: "1eb33107bf134766876dbbac6f6d36de", priority: logNotice,
		fields: "TARGET TIER TIER_FROM REASON USAGE_BYTES LIMIT_BYTES LIMIT " +
			"USAGE_LIMIT USAGE_LIMIT_BYTES USAGE_LIMIT_USED_BYTES",
		subject: "@TARGET@ is in tier @TIER@",
		text: `
The policy's tier of @TARGET@ changed from @TIER_FROM@ to @TIER@: @REASON@. @USAGE_BYTES@ of
@LIMIT_BYTES@ bytes of @LIMIT@ are used.

In a tier hapressure performs the actions of that tier and of all milder tiers, on workers that a
reload left behind. Tiers that come and go with each reload are normal. If the harshest tier is
entered often, HAProxy needs more memory, smaller session caches (tune.ssl.cachesize), fewer
reloads, or a hard-stop-after.`,
	},
	Action: {
		name: "action", id: "99f9166ac5dd452cbffeda1ae8d327f2", priority: logNotice,
		fields:  actionFields,
		subject: "@ACTION@ on worker @WORKER_PID@: @RESULT@",
		text: `
A reload replaced worker @WORKER_PID@ of @TARGET@, and the worker waits for its last connections
to end. Tier @TIER@ of the policy asked for @ACTION@: @REASON@. It freed @FREED_BYTES@ bytes.

hard-stop-after and terminate-oldest end connections of that worker; all other actions cost none.
If connections end too early, raise the thresholds of the tiers above the first, or disable those
tiers ("hapressure policy explain" prints when each acts). If the result is "skipped" the action
was not performed: the mode does not permit it ("hapressure mode"), hapressure is paused, or it runs
with --dry-run.`,
	},
	Refused: {
		name: "refused", id: "352f0fbf000745c9ac4b2dcf45299f67", priority: logWarning,
		fields:  actionFields,
		subject: "@ACTION@ was not safe on worker @WORKER_PID@ and was not performed",
		text: `
@ACTION@ was due, but hapressure could not prove that it is safe on worker @WORKER_PID@ of
@TARGET@: @ERROR@. Nothing of the worker was changed, and the policy continues with its other
actions.

A cache whose layout is not recognised is refused for good: compare the release of HAProxy with
those in docs/compatibility.md. "hapressure workers" shows what is known of each worker.`,
	},
	Failed: {
		name: "failed", id: "60c4c3e9e6624aa29913ec7e5c5f97d4", priority: logWarning,
		limited: true, fields: actionFields,
		subject: "@ACTION@ on worker @WORKER_PID@ failed",
		text: `
@ACTION@ on worker @WORKER_PID@ of @TARGET@ failed: @ERROR@. HAProxy is not affected. hapressure
retries the action for as long as the tier lasts.

If it fails repeatedly, check whether a process traces the worker (strace, gdb), whether
kernel.yama.ptrace_scope is 3, and whether a drop-in of hapressure.service takes a privilege away:
"hapressure doctor" lists those that are missing.`,
	},
	Withheld: {
		name: "withheld", id: "a2ac9b99d8864338a14d755deea6bada", priority: logNotice,
		limited: true,
		fields:  "TARGET TIER ACTION REASON HELD_BYTES USAGE_BYTES LIMIT_BYTES LIMIT",
		subject: "No connection of @TARGET@ is cut for memory that it does not hold",
		text: `
Memory is short, and tier @TIER@ of the policy would perform @ACTION@: @REASON@. Other programs,
or HAProxy's current worker, hold the memory. Ending stopping workers would cut their connections
and not end the shortage.

Find what holds the memory: "systemd-cgtop -m" shows it by unit. The key "worth" of the action in
the policy sets how much stopping workers must hold; see docs/policy-reference.md. hapressure logs
this once while the tier lasts.`,
	},
	WorkerStuck: {
		name: "worker-stuck", id: "48a62766d172f672a696839d6de152cd", priority: logWarning,
		limited: true, fields: "TARGET WORKER_PID GENERATION REASON",
		subject: "Worker @WORKER_PID@ has no traffic and does not end",
		text: `
A stopping worker ends with its last connection. Worker @WORKER_PID@ of @TARGET@ is still there,
and keeps its memory: @REASON@.

If it has no client connection, a bug of HAProxy keeps it, or a client that stays connected to its
stats socket: upgrade HAProxy to the last version of its branch. If its connections are half-closed,
"timeout client-fin" and "timeout server-fin" in HAProxy's configuration end them. hard-stop-after
ends such a worker in any case. hapressure logs this once for each worker.`,
	},
	MakeRoom: {
		name: "make-room", id: "4a99f287dde749e9a73371fc92f6ef5d", priority: logNotice,
		limited: true,
		fields: "TARGET RESULT RELOADS RELOAD_ROOM MISSING_BYTES FREED_BYTES DURATION_USEC " +
			"LIMIT LIMIT_BYTES USAGE_BYTES REASON",
		subject: "make-room of @TARGET@: @RESULT@",
		text: `
Before a reload of @TARGET@, a client waited until @RELOADS@ reloads fit ("hapressure make-room").
The result is @RESULT@: there is room for @RELOAD_ROOM@ reloads.

If the result is "no-room", memory was still short at the end of the timeout, or no worker was left
that could free any. The reload may fail, and the configuration that is in force stays. Raise the
memory limit, set a hard-stop-after, or permit draining with "make-room: {drain: true}" in the
policy.`,
	},
	TargetFound: {
		name: "target-found", id: "d0b9d84b3bba4ba2854a313c02732ab8", priority: logInfo,
		limited: true, fields: "TARGET CGROUP",
		subject: "@TARGET@ is guarded",
		text: `
@TARGET@, which the policy names, runs, and hapressure now watches its memory.`,
	},
	TargetLost: {
		name: "target-lost", id: "676def0cead1433c998ce9bf3c0a54c3", priority: logInfo,
		limited: true, fields: "TARGET REASON",
		subject: "@TARGET@ is no longer guarded",
		text: `
hapressure no longer watches @TARGET@: @REASON@.

If it was stopped or restarted there is nothing to do: hapressure finds it again as soon as it
runs. If it runs and is not found, compare its name with the targets of "hapressure policy show".`,
	},
	SensorMissing: {
		name: "sensor-missing", id: "213f5ccdcaeb48cca2c0a254d38202ab", priority: logWarning,
		limited: true,
		fields:  "TARGET SENSOR REASON",
		subject: "@SENSOR@ cannot be read",
		text: `
hapressure cannot read @SENSOR@: @REASON@. Conditions of the policy that need it are neither true
nor false until it can be read again; all others work. hapressure logs this once for each gap.

If memory.pressure is missing, the kernel leaves pressure off: boot it with psi=1. If the memory
controller is missing, the unit needs MemoryAccounting=yes, and the host cgroup v2.`,
	},
	StorageFailed: {
		name: "storage-failed", id: "23dd67bd445345238889e505457baca2", priority: logWarning,
		limited: true,
		fields:  "TARGET STORE REASON",
		subject: "hapressure cannot store its @STORE@",
		text: `
hapressure could not write, read or remove a file of its own, the @STORE@ of @TARGET@: @REASON@.
It guards HAProxy all the same. Without a recording "hapressure replay" has nothing of that time.
Without its state hapressure starts without tiers and deadlines after a restart. hapressure logs
this once for each reason.

If there is no space left, free some below /var/lib/hapressure (recordings) or /run (state), or
lower --recordings-size. If the file system is read-only, check StateDirectory= and ProtectSystem=
in "systemctl cat hapressure".`,
	},
	ConnectionChanged: {
		name: "connection-changed", id: "c262eba8427f41c0ace566887a9e87f9", priority: logWarning,
		limited: true,
		fields:  "CONNECTION CONNECTION_FROM LACKS REASON",
		subject: "Units are found by @CONNECTION@",
		text: `
hapressure finds the units of its policy by D-Bus. If D-Bus does not answer, it asks systemd at
its private socket. If that does not answer either, it searches the cgroup tree for the units'
names. It now uses @CONNECTION@ instead of @CONNECTION_FROM@. Targets stay guarded in all cases.

If that is not D-Bus, the entry says what hapressure lacks and why D-Bus did not answer.
hapressure tries D-Bus again every 10 s. On a host that should have D-Bus, see "systemctl status
dbus.socket dbus.service".`,
	},
	RightMissing: {
		name: "right-missing", id: "e71204987ab14a03b6bf9aee4e9f6304", priority: logWarning,
		fields:  "RIGHT REASON ACTIONS REMEDY",
		subject: "hapressure lacks @RIGHT@",
		text: `
When it started, hapressure checked which privileges of its actions the kernel grants. @RIGHT@ is
missing: @REASON@. These actions are not possible without it: @ACTIONS@.

What to do: @REMEDY@. Then restart hapressure. "hapressure doctor" shows whether all privileges
are present.`,
	},
	HookFailed: {
		name: "hook-failed", id: "2154b09253864c5d9aa9538cca0af058", priority: logWarning,
		limited: true,
		fields:  "TARGET TIER TIER_FROM CHANGE HOOK ERROR",
		subject: "The hook @HOOK@ failed",
		text: `
The tier of @TARGET@ changed from @TIER_FROM@ to @TIER@, and the policy has a hook for that,
@HOOK@. It was not run, or it failed: @ERROR@. hapressure does not retry it. The tier's actions do
not depend on it.

If the error names a unit, "journalctl --unit" with that name shows what the hook printed;
"failed" may mean its timeout. Hooks run one after the other: a slow one delays those behind it.`,
	},
	PolicyLoaded: {
		name: "policy-loaded", id: "f241d1f9ed1642b381172cc8eaca3bc1", priority: logNotice,
		fields:  "POLICY",
		subject: "The policy was loaded",
		text: `
The policy's files have changed, and their new content is in force. "hapressure policy show"
prints it, "hapressure policy explain" prints what it means.`,
	},
	PolicyRejected: {
		name: "policy-rejected", id: "ceedffe71a0c4649afb7fbb0a27bce36", priority: logErr,
		limited: true, fields: "POLICY",
		subject: "The policy has mistakes",
		text: `
The entry names each mistake with its file, line and column. The policy that was in force stays in
force, also when the service restarts. If there is none, or a new version of hapressure does not
accept it, systemd restarts the service every second until the mistakes are corrected; HAProxy is
not guarded meanwhile.

Correct the mistakes; "hapressure policy check" shows whether any are left. hapressure loads the
files as soon as they have none.`,
	},
	ModeChanged: {
		name: "mode-changed", id: "88b0eabbb8f74a6c9381c4764d4f2946", priority: logNotice,
		fields:  "TARGET MODE MODE_FROM",
		subject: "The mode is now @MODE@",
		text: `
"hapressure mode", or an edit of /etc/hapressure/mode, changed how much of the policy is performed
from @MODE_FROM@ to @MODE@. Without HAPRESSURE_TARGET= in the entry, that is the mode of all targets
that have none of their own.

In the mode observe hapressure decides and logs, and performs no action. In the mode purge-only it
performs only actions that cut no connection. Actions that a mode does not permit have the result
"skipped". hapressure performs them when the mode permits them again, if they are due then.`,
	},
	Paused: {
		name: "paused", id: "4c760d764f44484a8b94b5b970513371", priority: logNotice,
		fields:  "TARGET UNTIL",
		subject: "hapressure is paused",
		text: `
"hapressure pause" was run. hapressure stops what it was doing, and performs no action until
@UNTIL@. It still decides and logs. Without HAPRESSURE_TARGET= in the entry, that holds for all
targets.

If memory runs out meanwhile, the kernel's OOM killer decides. "hapressure resume" ends the pause.`,
	},
	Resumed: {
		name: "resumed", id: "e4a3fd6f58eb48698020f3104751a3cd", priority: logNotice,
		fields:  "TARGET REASON",
		subject: "The pause has ended",
		text: `
hapressure performs actions again, as its mode permits: @REASON@. Tiers wait for the actions of
milder tiers as if they had just been entered, and a second sample must confirm that connections
are cut.`,
	},
	Started: {
		name: "started", id: "dc6b867543df4cf69c50ca34ad5a1e9f", priority: logInfo,
		fields:  "POLICY",
		subject: "hapressure has started",
		text: `
It uses @POLICY@, and logs each HAProxy that it finds. If it logs none, check whether
"hapressure workers" lists HAProxy, and whether it runs as a unit that the policy names ("hapressure
policy show").`,
	},
	Stopped: {
		name: "stopped", id: "07f31900a6804415912d1c423d2a27ae", priority: logInfo,
		subject: "hapressure has stopped",
		text: `
systemd or a signal stopped it. HAProxy runs as before, but its memory is not watched until
"systemctl start hapressure". Workers whose caches were purged stay as they are.`,
	},
}

// ID returns the MESSAGE_ID.
func (k Kind) ID() string { return kinds[k].id }

// Kinds returns the names of all kinds by their MESSAGE_ID.
func Kinds() map[string]string {
	all := map[string]string{}
	for _, k := range kinds {
		all[k.id] = k.name
	}
	return all
}

// Journal takes entries; *systemd.Journal does.
type Journal interface {
	Send(systemd.Entry) error
}

// NewJournal returns the journal of this program.
func NewJournal(to systemd.Sink) *systemd.Journal {
	return systemd.NewJournal(to, Identifier, FieldPrefix+"LEFT_OUT")
}

// Events logs what happens: one entry for each event, with the reason in numbers.
type Events struct {
	Journal Journal
}

// fields are the fields of an entry, without FieldPrefix. An empty value means that the
// field does not apply.
type fields map[string]string

// send writes an entry with the priority of its kind.
func (e Events) send(k Kind, message string, f fields) {
	e.sendAt(kinds[k].priority, k, message, f)
}

func (e Events) sendAt(priority int, k Kind, message string, f fields) {
	entry := systemd.Entry{
		MessageID: k.ID(), Message: message, Priority: priority, PID: f["WORKER_PID"],
		Fields: map[string]string{},
	}
	if target := f["TARGET"]; !strings.HasPrefix(target, "/") {
		entry.Unit = target
	}
	if kinds[k].limited {
		entry.Limit = k.ID() + f["TARGET"]
	}
	for name, value := range f {
		if value != "" {
			entry.Fields[FieldPrefix+name] = value
		}
	}
	// An entry that cannot be written must not stop a guard, and there is no other place
	// to log it.
	_ = e.Journal.Send(entry)
}

// Started logs that the daemon starts with the policy of origin. mode is empty, or how
// the run differs from a usual one.
func (e Events) Started(version, origin, mode string) {
	e.send(Started, fmt.Sprintf("hapressure %s started with %s%s", version, origin, mode),
		fields{"POLICY": origin})
}

// Stopped logs that the daemon ends by request.
func (e Events) Stopped() {
	e.send(Stopped, "hapressure stopped; HAProxy runs as before", nil)
}

// PolicyLoaded logs that a policy comes into force. origin is its files, in words.
func (e Events) PolicyLoaded(origin string) {
	e.send(PolicyLoaded, "Now in force: "+origin, fields{"POLICY": origin})
}

// PolicyRejected logs the mistakes of a policy. origin is empty if its files cannot be
// read.
func (e Events) PolicyRejected(origin, message string) {
	e.send(PolicyRejected, message, fields{"POLICY": origin})
}

// modeChanged logs a mode that comes into force for a target, "" for all.
func (e Events) modeChanged(target string, from, to policy.Mode) {
	e.send(ModeChanged, fmt.Sprintf("The mode of %s is now %s; it was %s", orAll(target), to, from),
		fields{"TARGET": target, "MODE": string(to), "MODE_FROM": string(from)})
}

// paused logs a pause that begins.
func (e Events) paused(target string, m status.Mode) {
	until := "'hapressure resume'"
	if m.PausedUntil != nil {
		until = m.PausedUntil.Format(time.RFC3339)
	}
	e.send(Paused, fmt.Sprintf("Paused until %s: no action is performed on %s", until,
		orAll(target)), fields{"TARGET": target, "UNTIL": until})
}

// resumed logs the end of a pause.
func (e Events) resumed(target, why string) {
	e.send(Resumed, fmt.Sprintf("Acting on %s again: %s", orAll(target), why),
		fields{"TARGET": target, "REASON": why})
}

func orAll(target string) string { return cmp.Or(target, "all targets") }

// RightMissing logs a privilege that the kernel does not grant.
func (e Events) RightMissing(p status.Privilege) {
	e.send(RightMissing, "Missing right "+p.String(), fields{
		"RIGHT": p.Name, "REASON": p.Missing, "REMEDY": p.Remedy,
		"ACTIONS": cmp.Or(strings.Join(p.Actions, ", "), "nothing"),
	})
}

// SensorMissing logs that a sensor cannot be read. target is empty if the sensor is of no
// target.
func (e Events) SensorMissing(target, sensor string, err error) {
	of := sensor
	if target != "" {
		of += " of " + target
	}
	message := fmt.Sprintf("Cannot read %s, continuing without it: %v", of, err)
	e.Unavailable(target, sensor, message, err)
}

// Unavailable logs in words of its own that something cannot be used, and that hapressure
// continues without it.
func (e Events) Unavailable(target, what, message string, err error) {
	e.send(SensorMissing, message, fields{"TARGET": target, "SENSOR": what, "REASON": err.Error()})
}

// StorageFailed logs that a file of a store cannot be written, read or removed.
func (e Events) StorageFailed(target, store, message string, err error) {
	e.send(StorageFailed, message, fields{"TARGET": target, "STORE": store, "REASON": err.Error()})
}

func (e Events) targetFound(target, cgroup string) {
	e.send(TargetFound, fmt.Sprintf("Guarding %s (cgroup %s)", target, cgroup),
		fields{"TARGET": target, "CGROUP": cgroup})
}

func (e Events) targetLost(target string, why error) {
	e.send(TargetLost, fmt.Sprintf("No longer guarding %s: %v", target, why),
		fields{"TARGET": target, "REASON": why.Error()})
}

func (e Events) workerStuck(target string, w haproxy.Worker, why string, idle time.Duration) {
	why = fmt.Sprintf("it has been stopping for %s, and for %s %s",
		policy.FormatDuration(w.StoppingFor.Round(time.Minute)),
		policy.FormatDuration(idle.Round(time.Minute)), why)
	e.send(WorkerStuck, fmt.Sprintf("Worker %d (generation %d) of %s does not end: %s",
		w.PID, w.Generation, target, why), fields{
		"TARGET": target, "WORKER_PID": strconv.Itoa(w.PID),
		"GENERATION": strconv.Itoa(w.Generation), "REASON": why,
	})
}

// roomAnswered logs the answer to a client that waited for room. by is who asked.
func (e Events) roomAnswered(r status.Room, by string) {
	reloads := policy.FormatNumber(r.Reloads)
	room := policy.FormatNumber(r.ReloadRoom.Value)
	priority := logNotice
	message := fmt.Sprintf("Room for %s of %s: there is room for %s",
		policy.Count(r.Reloads, "reload"), r.Target, room)
	if r.ReloadRoom.Absent != "" {
		room = ""
	}
	if r.Reason != "" {
		message = fmt.Sprintf("Room for %s of %s: %s: %s", policy.Count(r.Reloads, "reload"),
			r.Target, r.Result, r.Reason)
		priority = logWarning
	}
	message += fmt.Sprintf(" (%s; waited %.1f s, in which actions freed %s)",
		by, r.Waited, mib(r.Freed))
	e.sendAt(priority, MakeRoom, message, fields{
		"TARGET": r.Target, "RESULT": r.Result, "RELOADS": reloads, "RELOAD_ROOM": room,
		"MISSING_BYTES": number(r.Missing), "FREED_BYTES": number(r.Freed),
		"DURATION_USEC": usec(time.Duration(r.Waited * float64(time.Second))),
		"LIMIT":         r.Limit.Name, "LIMIT_BYTES": number(r.Limit.Bytes),
		"USAGE_BYTES": number(r.Limit.Used), "REASON": r.Reason,
	})
}

func (e Events) hookFailed(h systemd.Transient, err error) {
	f := fields{"HOOK": h.Command[0], "ERROR": err.Error()}
	for _, name := range []string{"TARGET", "TIER", "TIER_FROM", "CHANGE"} {
		f[name] = h.Environment[FieldPrefix+name]
	}
	e.send(HookFailed, fmt.Sprintf("%s: %s: %v", h.Description, h.Command[0], err), f)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func usec(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
