// Package probe owns the kernel objects: it loads the programs of package bpf,
// attaches each hook at the highest rung that works, proves every rung by firing it,
// reads the rings and the kernel's part of the ledger.
//
// Life of a [Sensor]: [Open] learns the host, makes the maps, loads and attaches;
// [Sensor.Seed] yields what ran before; [Sensor.Read] delivers records until its context
// ends; [Sensor.Confirm], called while Read runs, fires each hook and takes a hook
// whose event did not come one rung down. [Sensor.Close] detaches everything.
// Attach, seed, read, in this order: what is born while the seed runs waits in the ring.
//
// Host-dependent choices are made once, between the collection spec and the kernel's
// objects; afterwards nothing here asks for a kernel version.
package probe
