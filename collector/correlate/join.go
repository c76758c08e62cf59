package correlate

import (
	"slices"
	"time"
)

// The join of requests (kubectl exec, as the API server's audit log has it) with sessions
// (what came into a container, as the node saw it).
//
// Nothing carries both names: neither does the kubelet tell the runtime the audit id, nor
// does anybody here change the request to smuggle one in. What both sides know is the
// container, the command, whether there is a terminal, and the time. A session can be a
// request's if these agree:
//
//   - pod and container, where the request names one;
//   - the command, word for word (see [sameCommand]);
//   - a terminal, or none;
//   - the session began after the request came, at most [startup] later, whether or not its
//     caller was still there: runtimes do not look; give or take how far the clocks may be
//     apart ([skew.bounds], [skew.auditBounds]).
//
// That alone would join a session with any alike: two people who open a shell within a
// second, or one who does and one whose record was lost. So a join is a proof. It assumes
//
//  1. a request that was granted began exactly one session, within the bounds above;
//  2. the session is known once it must have begun and been reported ([Machine.settled]), or
//     something says that it may not be ([Machine.doubtful]). Of requests of which that is
//     said nothing is assumed: their session may be missing;
//
// and not that records are complete, prompt or in order, nor that sessions have requests at
// all: probes, crictl and whoever stole the kubelet's key begin some without. A session is
// joined with a request if they are together in every way of giving each request a
// session of its own ([tangle.prove]), and no request that may have begun it is still
// open to others. Records that come later only take ways away, or show
// that (1) does not hold: a late one takes a join back if it can have begun that session and
// no other ([Machine.reopen]). What could be several requests' is ambiguous, and says of which.
//
// A record can be here before its session must be: then the session is ambiguous for now,
// with the request named, and joined when that time is over.
//
// Thus commands that differ are joined, and equal ones that are further apart than clocks
// and the start-up of the first, in any order of their records: the last request can only
// have begun the last session. If one of two records is missing, the other one is joined
// where it can only have begun one of the sessions, and else both are ambiguous.
//
// (1) fails for a request that is granted and begins nothing (the program does not exist,
// the caller is gone): harmless, unless something else began a session alike just then,
// and left no record. Of a request whose caller was gone before any session that fits
// began, (1) is not assumed.
//
// The files: here which session can be which request's; component.go what has to be looked
// at together; match.go the proof; doubt.go what makes one impossible; look.go when it is
// looked at; surplus.go what is left over; host.go whose word counts for a pod.

const (
	// startup is how long after its request a session may begin: the kubelet waits as long
	// for the streams of an exec, and runtimes under load take seconds.
	startup = 30 * time.Second
	// afterEnd is how long after its request was over a session begins as a rule; of one that
	// began later it is only said that it may be the request's.
	afterEnd = 2 * time.Second
	// debugStartup is that of an ephemeral container, whose image may have to be pulled.
	debugStartup = 20 * time.Minute
	// widest is the widest that bounds of a session's beginning are.
	widest = skewDelay + 2*clockBound
	// arrivalHold is how long after what came the rest of its time is waited for; of an
	// agent that was away, catchUp.
	arrivalHold = time.Second
	catchUp     = 15 * time.Second
	// penHold is how long an agent keeps a session back whose container it does not know yet.
	penHold = 4 * time.Second
)

// latest is when the request may have begun a session at the latest.
func (r *request) latest() int64 {
	if r.Kind == entryDebug {
		return r.Until + int64(debugStartup)
	}
	return r.Until + int64(startup)
}

// possible reports whether the request may have begun the session.
func (m *Machine) possible(r *request, s *session) bool {
	m.effort++
	if s.Until < r.From || s.From > r.latest() || r.UID != "" && s.UID != "" && r.UID != s.UID {
		return false
	}
	if r.Kind == entryDebug {
		return s.Init && slices.Contains(r.Added, s.Container)
	}
	return (r.Container == "" || s.Container == "" || r.Container == s.Container) && alike(r, s)
}

// alike reports whether the request can have begun what the session runs, wherever that is.
func alike(r *request, s *session) bool {
	return r.Kind == entryExec && !s.Past && !s.Foreign && !s.Init && r.TTY == (s.TTY != "") && sameCommand(r, s)
}
