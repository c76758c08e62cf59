/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Admission, cheapest test first: the agent itself, what is wanted whatever its
 * object is, the tree of interest, then the object's name.
 */
#ifndef SEAWALL_FILTER_H
#define SEAWALL_FILTER_H

/* What a hook can be asked to admit. The numbers are those of rule.Op. */
enum interest_op {
	OP_OPEN_READ = 1 << 0,
	OP_OPEN_WRITE = 1 << 1,
	OP_RENAME = 1 << 2,
	OP_UNLINK = 1 << 3,
	OP_CHMOD = 1 << 4,
	OP_CONNECT_UNIX = 1 << 5,
	OP_CONNECT_INET = 1 << 6,
	OP_ACCEPT = 1 << 7,
	OP_MEMORY_WRITE_TO_EXECUTE = 1 << 8,
	OP_MEMORY_WRITE_AND_EXECUTE = 1 << 9,
	OP_MEMORY_ANONYMOUS = 1 << 10,
	OP_MEMORY_MEMFD = 1 << 11,
	OP_MEMORY_FILE = 1 << 12,
	OP_NAMESPACE = 1 << 13,
	OP_CHMOD_EXECUTABLE = 1 << 14,
};

/* One event on its way through admission. */
struct admission {
	struct ledger_row *book;
	struct run_control *control;
	__u64 op;
	__u32 tree;
	__u16 flags; /* for the header, when admitted */
	bool admitted;
	bool limited; /* the tree is over its rate */
};

#define TREE_ADMITS (TREE_ENTERED | TREE_WEB | TREE_DOWNLOAD | TREE_RULE | TREE_COLLECTOR)

/* The mark of a task's process. One that a former process of this number left behind
 * (user space marks too, and may come late) is none. */
static __always_inline struct tree_entry *tree_of(struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct tree_entry *entry = bpf_map_lookup_elem(&tree, &tgid);

	return entry && entry->start_ns == task_start_ns(task) ? entry : NULL;
}

/* Whether a tree may send one more event in this second. Two CPUs may both take the
 * last one: the rate is a bound on cost, not an exact count. */
static __always_inline bool tree_may_send(struct tree_entry *entry)
{
	__u64 second = bpf_ktime_get_boot_ns() / 1000000000ULL;
	__u64 key = entry->root_start_ns;
	struct tree_bucket *bucket = bpf_map_lookup_elem(&tree_rate, &key);

	if (!bucket) {
		struct tree_bucket fresh = {.second = second, .count = 1};

		bpf_map_update_elem(&tree_rate, &key, &fresh, BPF_ANY);
		return true;
	}
	if (bucket->second != second) {
		bucket->second = second;
		bucket->count = 0;
	}
	return ++bucket->count <= config.tree_rate;
}

/*
 * Begins every hook. False: the event is booked as filtered and the hook returns.
 * True with a->admitted: it goes out. True without: the object decides (wants_*),
 * and admit_end closes the matter.
 */
static __always_inline bool admit_begin(struct admission *a, __u32 kind, __u64 op)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct tree_entry *entry;
	__u32 reasons = 0;

	a->book = ledger_of(kind);
	a->control = control_now();
	a->op = op;
	a->tree = 0;
	a->flags = 0;
	a->admitted = false;
	a->limited = false;
	if (!a->book || !a->control)
		return false;
	count(a->book->seen);
	if (task_in_compat_call(current_task()))
		a->flags |= EVENT_COMPAT;
	if (tgid == a->control->agent_tgid) {
		if (!a->control->self_test) {
			count(a->book->filtered_own);
			return false;
		}
		a->flags |= EVENT_SELF_TEST;
		a->admitted = true;
		return true;
	}
	entry = tree_of(current_task());
	if (entry)
		a->tree = reasons = entry->reasons;
	/* Of a download what counts is what it writes: what it and its children read and load
	 * would use up the rate. */
	if (!(op & ~(OP_OPEN_READ | OP_MEMORY_FILE)))
		reasons &= ~TREE_DOWNLOAD;
	if (a->control->any & op) {
		a->admitted = true;
		return true;
	}
	if (a->control->unfiltered) {
		a->flags |= EVENT_UNFILTERED;
		a->admitted = true;
		return true;
	}
	if (entry && reasons & TREE_ADMITS) {
		if (!tree_may_send(entry)) {
			/* Over the rate only what the rules name still passes. */
			a->limited = true;
			return true;
		}
		a->flags |= EVENT_BY_TREE;
		a->admitted = true;
	}
	return true;
}

static __always_inline void admit_name(struct admission *a, struct name_key *name)
{
	__u64 *ops = bpf_map_lookup_elem(&interest_names, name);

	if (ops && *ops & a->op)
		a->admitted = true;
}

/* Asks for the last name of a dentry and its suffix. */
static __always_inline void admit_dentry(struct admission *a, struct dentry *dentry)
{
	struct name_key name;

	if (a->admitted)
		return;
	read_name(dentry, &name);
	admit_name(a, &name);
	if (!a->admitted && a->control->has_suffix & a->op) {
		__u64 suffix = suffix_of(BPF_CORE_READ(dentry, d_name.name),
					 BPF_CORE_READ(dentry, d_name.len));
		__u64 *ops = suffix ? bpf_map_lookup_elem(&interest_suffix, &suffix) : NULL;

		if (ops && *ops & a->op)
			a->admitted = true;
	}
}

/* Asks for the beginning of the path at span in the record; one that lost its front may
 * have begun with anything. */
static __always_inline void admit_prefix(struct admission *a, struct scratch *s, struct span *span)
{
	struct event_header *h = (void *)s->record;
	const char *text = &s->record[span->offset & SCRATCH_TAIL_MASK];
	__u32 len = span->length;
	struct prefix_key key = {};
	__u64 *ops;

	if (a->admitted || !(a->control->has_prefix & a->op))
		return;
	if (h->flags & EVENT_PATH_TRUNCATED) {
		a->admitted = true;
		return;
	}
	if (len > sizeof(key.text))
		len = sizeof(key.text);
	opaque(len);
	if (len > sizeof(key.text))
		return;
	bpf_probe_read_kernel(key.text, len, text);
	key.bits = len * 8;
	ops = bpf_map_lookup_elem(&interest_prefix, &key);
	if (ops && *ops & a->op)
		a->admitted = true;
}

static __always_inline void admit_port(struct admission *a, __u32 port)
{
	__u64 *ops;

	if (a->admitted)
		return;
	ops = bpf_map_lookup_elem(&interest_ports, &port);
	if (ops && *ops & a->op)
		a->admitted = true;
}

/* Ends admission: books the refusal. */
static __always_inline bool admit_end(struct admission *a)
{
	if (a->admitted)
		return true;
	if (a->limited)
		count(a->book->filtered_rate);
	else
		count(a->book->filtered_interest);
	return false;
}

#endif
