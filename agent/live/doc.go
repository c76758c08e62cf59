// Package live holds the tests of the agent as a whole: the real stages joined in one
// process, hooks in this host's kernel, real processes, a real containerd and runc. It
// has no code of its own.
//
// Loading the hooks takes seconds, so one test binary does it once per set of options:
//
//   - TestStorm: nothing filtered, rings large enough: every single act is delivered.
//   - TestDrops: rings far too small: every single loss is booked.
//   - TestNode: the built-in rules' filters, containers, sessions, doors, restarts.
//     Its parts share one node and one containerd and run in order.
//
// Other processes of the host go on meanwhile: tests look for what their own actors
// did, and compare both parts of the ledger until they agree (world.balance).
// Nothing sleeps; what is awaited comes as an event or with the reader's idle call.
package live
