//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cgroups of the hierarchy that container runtimes use: made and removed. So a container
 * has its id before its first instruction runs, and may die before anybody asks.
 *
 * Hooks:   tp_btf cgroup_mkdir, cgroup_rmdir.
 * Emits:   EVENT_CGROUP_* to the decisive ring. Filters: the other hierarchies.
 * Kernel:  5.10.
 */
#include "seawall.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int observe_cgroup(struct cgroup *cgroup, const char *path, __u32 kind)
{
	struct ledger_row *book = ledger_of(kind);
	struct task_struct *task = current_task();
	struct cgroup_change *e;
	struct scratch *s;
	__u32 end = sizeof(*e), length;
	__u64 id;
	long n;

	if (!book || BPF_CORE_READ(cgroup, root, hierarchy_id) != config.cgroup_hierarchy)
		return 0;
	count(book->seen);
	id = BPF_CORE_READ(cgroup, kn, id);
	if (kind == EVENT_CGROUP_CREATE) {
		__u32 empty = 0;

		bpf_map_update_elem(&cgroups, &id, &empty, BPF_ANY);
	} else {
		bpf_map_delete_elem(&cgroups, &id);
	}
	s = scratch_get(book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, task, kind, EVENT_RESULT);
	e->id = id;
	e->path.offset = end;
	e->path.length = 0;
	n = bpf_probe_read_kernel_str(&s->record[sizeof(*e)], PATH_BYTES, path);
	length = n - 1;
	opaque(length); /* 6.1 does not carry the bound of n over the subtraction */
	if (n > 1 && length < PATH_BYTES) {
		e->path.length = length;
		end += length;
	}
	send_scratch(book, s, end, RING_DECISIVE);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_create, struct cgroup *cgroup, const char *path)
{
	return observe_cgroup(cgroup, path, EVENT_CGROUP_CREATE);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_remove, struct cgroup *cgroup, const char *path)
{
	return observe_cgroup(cgroup, path, EVENT_CGROUP_REMOVE);
}
