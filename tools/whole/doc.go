// Package whole tests the product as it is shipped: agent, collector, a SIEM and sinks,
// each a process of its own, over the real kernel. It needs root.
//
// TestCrash kills them, cuts their network, fills their disks and damages what they wrote,
// and holds what the SIEM was told against what was done and what the spool had: see
// docs/siem.md for the promise. TestNoCanaryIsLeft plants secrets in commands and looks for
// them in every file and on every way out.
package whole
