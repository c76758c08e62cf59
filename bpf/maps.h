/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Maps that all objects share: each object declares them, user space makes them
 * once and hands them over. Sizes given as 1 are set at load.
 */
#ifndef SEAWALL_MAPS_H
#define SEAWALL_MAPS_H

/* Rare and decisive records: processes, namespaces, cgroups. Bulk can never starve it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} decisive SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} bulk SEC(".maps");

enum ring_id {
	RING_DECISIVE = 0,
	RING_BULK = 1,
};

#define SCRATCH_SLOTS 4

/* Per CPU: the last sequence number of each ring, and which scratch slots are taken. */
struct cpu_state {
	__u64 sequence[2];
	__u64 scratch_busy[SCRATCH_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_state SEC(".maps");

/*
 * The kernel's part of the ledger, per kind:
 * seen = filtered (own + interest + repeat + rate) + emitted + dropped (ring + scratch).
 */
struct ledger_row {
	__u64 seen;
	__u64 filtered_own;
	__u64 filtered_interest;
	__u64 filtered_repeat;
	__u64 filtered_rate;
	__u64 emitted;
	__u64 dropped_ring;
	__u64 dropped_scratch;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_KIND_MAX);
	__type(key, __u32);
	__type(value, struct ledger_row);
} ledger SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct run_control);
} control SEC(".maps");

/* The tree of interest: marked processes. Entries end with their process. */
struct tree_entry {
	__u64 start_ns;
	__u64 root_start_ns; /* names the tree: its members share one rate */
	__u32 reasons;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* tgid */
	__type(value, struct tree_entry);
} tree SEC(".maps");

struct tree_bucket {
	__u64 second;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* root_start_ns */
	__type(value, struct tree_bucket);
} tree_rate SEC(".maps");

/* What the rules ask for. Values are sets of enum interest_op. */
#define INTEREST_NAME_BYTES 32
#define INTEREST_PREFIX_BYTES 64

struct name_key {
	char text[INTEREST_NAME_BYTES]; /* a last name, cut or padded with NUL */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name_key);
	__type(value, __u64);
} interest_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64); /* from the last dot, little endian, padded with NUL */
	__type(value, __u64);
} interest_suffix SEC(".maps");

struct prefix_key {
	__u32 bits;
	char text[INTEREST_PREFIX_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, __u64);
} interest_prefix SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32); /* port, host order */
	__type(value, __u64);
} interest_ports SEC(".maps");

/* Names of executables whose exec marks a tree; values are enum tree_reason. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct name_key);
	__type(value, __u32);
} marks SEC(".maps");

/* Cgroups made since the hooks are on; the value: a program has entered it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} cgroups SEC(".maps");

/* Programs the raw system call hooks tail-call; 32-bit calls from COMPAT_CALLS on. */
#define COMPAT_CALLS 512

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2 * COMPAT_CALLS);
	__type(key, __u32);
	__type(value, __u32);
} enter_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2 * COMPAT_CALLS);
	__type(key, __u32);
	__type(value, __u32);
} exit_calls SEC(".maps");

#endif
