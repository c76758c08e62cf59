// Package powercut proves that what was acknowledged survives a power cut: its test runs
// collector and agent in a virtual machine under load, cuts the power of machine and
// disk (package disk) at a random moment, and boots again from the same disk.
//
// The test binary plays both parts. In the guest, called with the argument "guest", it
// starts collector and agent, makes detections, reads alerts like a SIEM, and prints what
// it was promised when it was promised; it judges nothing. On the host a ledger holds all
// later boots to that:
//
//   - a detection that the agent's spool had on its disk, that the collector had
//     acknowledged to the agent, or that a subscriber was told of, is told of in the
//     next boot, before what that boot detects itself;
//   - a revision stays what it was, under its position;
//   - a subscription goes on right behind what it had acknowledged;
//   - what is missing was promised by nobody, and a gap says that something may be;
//   - CA, certificates and the agent's identity are the first boot's.
//
// The moment is one of the disk's: so many writes and flushes after so many promises. Some
// cuts come while the machine starts, the first start included, and some when the
// collector has been stopped, so that only the spool knows. Everything random comes from
// one seed; the guest's timing does not.
//
// The load makes first revisions only: what a repeated mark adds to its alert is counted,
// and counts are told after minutes, which no boot lasts.
package powercut
