// Package pipeline is the order of the agent's stages, on one goroutine: decode,
// file origin, process, container, rules, sink. It is the only package that knows every
// stage, and it keeps the agent's part of the ledger.
//
// Whose an event is follows from the process's cgroup, if that is a container's, else from
// the process's lineage: who was born in a container, or entered it through its runtime, and
// whoever descends from those, is that container's wherever they go (package process knows
// homes). A process without a home, in a cgroup that nobody can tell and a mount namespace
// that is not the host's, is in a container without an id: never silently the host's.
//
// An event of a container that has no name yet waits in the pen until the runtime told
// it or gave up; later events of the same cgroup wait behind it, so that order within a
// container holds. Nothing is sent nameless and nothing is lost by waiting: a pen
// that is full, in events or in what they keep in memory, lets its oldest cgroup go on
// with what is known of it by then.
package pipeline
