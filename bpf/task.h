/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a task is: keys, namespaces, cgroup, terminal. No helper here loops. */
#ifndef SEAWALL_TASK_H
#define SEAWALL_TASK_H

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline __u64 task_start_ns(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

static __always_inline __u32 task_mount_ns(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
}

static __always_inline struct upid *pid_innermost(struct pid *pid)
{
	unsigned int level = BPF_CORE_READ(pid, level);

	return (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       level * bpf_core_type_size(struct upid);
}

/* The task's own pid namespace: pid_ns_for_children is another thing. */
static __always_inline __u32 task_pid_ns(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);

	return BPF_CORE_READ(pid_innermost(pid), ns, ns.inum);
}

static __always_inline __u32 task_ns_tgid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);

	return BPF_CORE_READ(pid_innermost(pid), nr);
}

/* The cgroup's kernfs id in the hierarchy chosen at load. bpf_get_current_cgroup_id
 * answers for the unified hierarchy only, which on v1 and hybrid hosts is not the
 * one that container runtimes use. */
static __always_inline __u64 task_cgroup_id(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = NULL;

	if (config.cgroup_hierarchy == 0)
		return BPF_CORE_READ(set, dfl_cgrp, kn, id);
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) +
				      config.cgroup_subsys * sizeof(void *));
	return BPF_CORE_READ(css, cgroup, kn, id);
}

static __always_inline void read_namespaces(struct task_struct *task, struct namespaces *ns)
{
	struct nsproxy *proxy = BPF_CORE_READ(task, nsproxy);

	ns->mount = BPF_CORE_READ(proxy, mnt_ns, ns.inum);
	ns->net = BPF_CORE_READ(proxy, net_ns, ns.inum);
	ns->uts = BPF_CORE_READ(proxy, uts_ns, ns.inum);
	ns->ipc = BPF_CORE_READ(proxy, ipc_ns, ns.inum);
	ns->cgroup = BPF_CORE_READ(proxy, cgroup_ns, ns.inum);
	ns->pid = task_pid_ns(task);
	ns->user = BPF_CORE_READ(task, cred, user_ns, ns.inum);
	ns->pad = 0;
}

/* Device number of the controlling terminal as major << 20 | minor; 0: none. */
static __always_inline __u32 task_tty(struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);

	if (!tty)
		return 0;
	return (__u32)BPF_CORE_READ(tty, driver, major) << 20 |
	       (__u32)(BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index));
}

static __always_inline __u32 task_session_leader(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, signal, pids[PIDTYPE_SID]);

	return BPF_CORE_READ(pid, numbers[0].nr);
}

static __always_inline void fill_header(struct event_header *h, struct task_struct *task,
					__u16 kind, __u16 flags)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	h->time_ns = bpf_ktime_get_boot_ns();
	h->sequence = 0;
	h->start_ns = task_start_ns(task);
	h->parent_start_ns = task_start_ns(parent);
	h->cgroup_id = task_cgroup_id(task);
	h->size = 0;
	h->kind = kind;
	h->flags = flags;
	h->cpu = bpf_get_smp_processor_id();
	h->tgid = BPF_CORE_READ(task, tgid);
	h->tid = BPF_CORE_READ(task, pid);
	h->parent_tgid = BPF_CORE_READ(parent, tgid);
	/* real_cred: `cred` is the mounter's while overlayfs works for the task. */
	h->uid = BPF_CORE_READ(task, real_cred, uid.val);
	h->euid = BPF_CORE_READ(task, real_cred, euid.val);
	h->gid = BPF_CORE_READ(task, real_cred, gid.val);
	h->mount_ns = task_mount_ns(task);
	h->pid_ns = task_pid_ns(task);
	h->tree = 0;
	BPF_CORE_READ_INTO(&h->comm, task, comm);
}

#endif
