/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a record leaves the kernel, and how the ledger hears of it. Every hook
 * begins with ledger_seen and ends in exactly one of filtered_*, emitted or
 * dropped_*: that is what makes the ledger balance.
 */
#ifndef SEAWALL_EMIT_H
#define SEAWALL_EMIT_H

#define count(field) __sync_fetch_and_add(&(field), 1)

static __always_inline struct ledger_row *ledger_of(__u32 kind)
{
	return bpf_map_lookup_elem(&ledger, &kind);
}

static __always_inline struct run_control *control_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

static __always_inline struct cpu_state *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_state, &zero);
}

/* The value before the add. LSM and fentry programs can be preempted by another one
 * on the same CPU since 5.11, so a plain read and write would give a number twice. */
static __always_inline __u64 fetch_add(__u64 *value, __u64 n)
{
	__u64 old = __sync_fetch_and_add(value, n);

	if (!config.atomic_fetch)
		old = *(volatile __u64 *)value - n;
	return old;
}

static __always_inline __u64 next_sequence(enum ring_id ring)
{
	struct cpu_state *cpu = this_cpu();

	return cpu ? fetch_add(&cpu->sequence[ring], 1) + 1 : 0;
}

/* Sends a record of known size. The decisive ring wakes its reader whenever that has
 * caught up; the bulk ring only above wakeup_bytes, else the reader's own timer finds it. */
static __always_inline void send(struct ledger_row *book, void *record, __u32 size,
				 enum ring_id ring)
{
	struct event_header *h = record;
	long err;

	h->size = size;
	h->sequence = next_sequence(ring);
	if (ring == RING_DECISIVE) {
		err = bpf_ringbuf_output(&decisive, record, size, 0);
	} else {
		__u64 wake = bpf_ringbuf_query(&bulk, BPF_RB_AVAIL_DATA) > config.wakeup_bytes ?
				     BPF_RB_FORCE_WAKEUP :
				     BPF_RB_NO_WAKEUP;

		err = bpf_ringbuf_output(&bulk, record, size, wake);
	}
	if (err)
		count(book->dropped_ring);
	else
		count(book->emitted);
}

/*
 * Scratch: records with a tail are put together here and sent once. Programs may be
 * switched away from a CPU and others run there meanwhile, in any order, so each takes
 * a slot that is free; when all SCRATCH_SLOTS are taken an event is dropped, booked.
 */
#ifndef SCRATCH_TAIL_MASK
#define SCRATCH_TAIL_MASK 8191 /* where the last span may begin */
#endif
#ifndef SCRATCH_LAST_BYTES
#define SCRATCH_LAST_BYTES PATH_BYTES /* and how long it may be */
#endif
#define SCRATCH_BYTES (SCRATCH_TAIL_MASK + 1 + SCRATCH_LAST_BYTES)
#define NAME_BYTES 256

struct scratch {
	char record[SCRATCH_BYTES];
	char path[PATH_BYTES + NAME_BYTES]; /* paths are found from their end */
	__u32 path_at;			    /* and begin here */
	__u32 path_truncated;
	__u32 slot; /* which one this is */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

static __always_inline struct scratch *scratch_get(struct ledger_row *book)
{
	struct cpu_state *cpu = this_cpu();
	struct scratch *s = NULL;

	for (__u32 slot = 0; cpu && slot < SCRATCH_SLOTS; slot++) {
		if (fetch_add(&cpu->scratch_busy[slot], 1) == 0) {
			s = bpf_map_lookup_elem(&scratch, &slot);
			if (s)
				s->slot = slot;
			break;
		}
		__sync_fetch_and_add(&cpu->scratch_busy[slot], -1);
	}
	if (!s)
		count(book->dropped_scratch);
	return s;
}

static __always_inline void scratch_put(struct scratch *s)
{
	struct cpu_state *cpu = this_cpu();
	__u32 slot = s->slot;

	if (cpu && slot < SCRATCH_SLOTS)
		__sync_fetch_and_add(&cpu->scratch_busy[slot], -1);
}

/* Sends the record in s, whose tail ends at end, and gives the scratch back. */
static __always_inline void send_scratch(struct ledger_row *book, struct scratch *s, __u32 end,
					 enum ring_id ring)
{
	if (end <= SCRATCH_BYTES)
		send(book, s->record, end, ring);
	else
		count(book->dropped_scratch);
	scratch_put(s);
}

#endif
