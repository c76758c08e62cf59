// Package container knows which container a cgroup belongs to.
//
// A cgroup id first becomes a candidate, by the shape of its path ([Parse]). A
// path can be forged by anybody who may make directories in a cgroup tree, so a
// candidate is a container only when a runtime says that it runs that container
// in that very cgroup, or, where no runtime knows it, when a runtime's own
// process on the host made the cgroup. A container is named from the first
// ([Containerd]); by the second it has its id only.
//
// [Table] owns the state. Its Born, Gone, Lookup and Changed are for the
// pipeline's reader goroutine and never wait for anything but short critical
// sections; Lookup allocates nothing. Table.Run and Containerd.Run do the
// waiting and talking, each on its own goroutine.
//
// Cgroup ids are kernfs ids of the hierarchy chosen once at start
// ([FindHierarchy]); paths start at that hierarchy's root. A published
// [event.Container] never changes: news publish another one.
//
// A container keeps its processes ([event.Home], by [Table.Candidate]) longer than its
// cgroups: a process that left the cgroup is its container's still, also when that is long
// gone. Who comes from where is for package process to know.
//
// A container that makes cgroups without end gets room for some thousands: its own gone
// ones go first, and for the rest its processes' lineage tells, or the nearest cgroup above
// ([Table.Locate]). A quarter of all room is not for what containers make below themselves.
//
// Everything is bounded, also against somebody who makes cgroups or containers
// on purpose; what a bound cost is in [Counts].
package container
