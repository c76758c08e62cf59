// Package pipeline is the order of the agent's stages, on one goroutine: decode,
// file origin, process, container, rules, sink. It is the only package that knows every
// stage, and it keeps the agent's part of the ledger.
//
// An event of a container that has no name yet waits in the pen until the runtime told
// it or gave up; later events of the same cgroup wait behind it, so that order within a
// container holds. Nothing is sent nameless and nothing is lost by waiting: a full pen
// lets its oldest cgroup go on with what is known of it by then.
package pipeline
