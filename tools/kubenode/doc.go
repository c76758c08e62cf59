// Package kubenode holds the test of a whole Kubernetes node: API server, controllers,
// kubelet and containerd, with agent and collector beside them, where people use kubectl to
// get into pods. Everything runs in a network namespace of its own; kernel and cgroups are
// the machine's.
package kubenode
