// Package smoke proves the agent on other kernels than the developer's: its test boots
// each supported kernel line in a throw-away machine (package lab), runs the static
// agent in an initramfs beside the safe actors of tools/attack, and compares what the
// agent printed with what the actors did.
//
// The test binary plays both parts. On the host it makes a plan, boots the machine and
// judges what the machine left behind; in the guest, called with the argument "guest",
// it performs the plan: it starts the agent, waits for the line that says the hooks are
// proven, runs the actors and ends the agent by SIGTERM. The guest judges nothing, so that
// a failure is found with everything that was recorded at hand.
//
// Every action has one list of events that holds for all rungs of the attach ladder;
// where the rungs differ by design (README.md says where) the list says so.
package smoke
