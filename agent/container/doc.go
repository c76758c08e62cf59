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
// Everything is bounded, also against somebody who makes cgroups or containers
// on purpose; what a bound cost is in [Counts].
package container
