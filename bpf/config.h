/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is decided once, at load (config, in rodata: the verifier drops the dead
 * branches), and what user space turns while running (struct run_control).
 */
#ifndef SEAWALL_CONFIG_H
#define SEAWALL_CONFIG_H

struct load_config {
	__u32 host_mount_ns;
	__u32 cgroup_hierarchy; /* id of the chosen v1 hierarchy; 0: the unified one */
	__u32 cgroup_subsys;	/* index in css_set.subsys; used when cgroup_hierarchy != 0 */
	/* Since 5.12 an atomic add returns the old value. Before, user space turns those
	 * instructions into plain adds and tracing programs cannot be preempted, so reading
	 * the value back is exact. */
	__u32 atomic_fetch;
	__u32 wakeup_bytes; /* the bulk ring wakes its reader above this much unread data */
	__u32 tree_rate;    /* events per second that one tree of interest may send */
};

const volatile struct load_config config = {};

struct run_control {
	__u64 any;	  /* enum interest_op: admitted whatever the object is */
	__u64 has_suffix; /* ops that appear in interest_suffix */
	__u64 has_prefix; /* ops that appear in interest_prefix */
	__u32 agent_tgid;
	__u32 self_test;  /* the agent's own events pass, marked */
	__u32 unfiltered; /* everything passes */
	__u32 pad;
	struct namespaces init; /* of process 1, noted with agent_tgid */
};

#endif
