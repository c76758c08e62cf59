//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory that becomes executable: mprotect and mmap.
 *
 * Hooks:   mprotect at LSM file_mprotect or fentry security_file_mprotect, else at the
 *          entry of mprotect and pkey_mprotect; mmap at LSM mmap_file or fentry
 *          security_mmap_file (before the address is known), else at the exit of mmap.
 * Emits:   EVENT_MEMORY_* to the bulk ring, the first of each (process, transition,
 *          region); a JIT's thousand others are counted as repeats.
 * Filters: no execute asked for, already executable, own agent, the rules' any, tree.
 * Kernel:  5.10; below 5.17 the lowest rung does not know the protection before.
 */
#include "seawall.h"
#include "syscall.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct transition {
	__u64 start_ns;
	__u32 tgid;
	__u32 program; /* self_exec_id: another program tells its own */
	__u32 ops;
	__u32 region;
};

/* Evicting an entry costs one more event of a transition already told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct transition);
	__type(value, __u64);
} transitions SEC(".maps");

struct region {
	__u64 address;
	__u64 length;
	struct file *file;
	__u32 before;
	__u32 after;
	__u32 kind; /* enum memory_region_kind; MEMORY_UNKNOWN: file or anonymous by `file` */
	__u32 map_flags;
	__u32 event; /* enum event_kind */
	__u16 flags;
	__s64 result;
};

static __always_inline bool is_memfd(struct file *file)
{
	struct file_identity f;
	struct path path;

	BPF_CORE_READ_INTO(&path, file, f_path);
	read_file(path.dentry, BPF_CORE_READ(file, f_inode), &f);
	return f.flags & FILE_MEMFD;
}

static __always_inline __u64 region_ops(struct region *r)
{
	__u64 ops = 0;

	/* What is not known may be the worst: a busy address space must hide nothing. */
	if (r->after & PROT_WRITE)
		ops |= OP_MEMORY_WRITE_AND_EXECUTE;
	else if (r->before & MEMORY_BEFORE_UNKNOWN ||
		 (r->before & PROT_WRITE && !(r->before & PROT_EXEC)))
		ops |= OP_MEMORY_WRITE_TO_EXECUTE;
	if (r->kind == MEMORY_FILE)
		ops |= OP_MEMORY_FILE;
	else if (r->kind == MEMORY_MEMFD)
		ops |= OP_MEMORY_MEMFD;
	else if (r->kind == MEMORY_UNKNOWN)
		ops |= OP_MEMORY_FILE | OP_MEMORY_MEMFD | OP_MEMORY_ANONYMOUS;
	else
		ops |= OP_MEMORY_ANONYMOUS;
	return ops;
}

static __noinline int observe_memory(struct region *r)
{
	struct admission a;
	struct memory_change *e;
	struct scratch *s;
	struct file *file;
	struct path path;
	__u32 end = sizeof(*e);

	if (!r)
		return 0;
	file = r->file;
	/* Nothing becomes executable that was not, and nothing executable becomes writable. */
	if (!(r->after & PROT_EXEC) ||
	    (!(r->before & MEMORY_BEFORE_UNKNOWN) && r->before & PROT_EXEC &&
	     !(r->after & PROT_WRITE && !(r->before & PROT_WRITE))))
		return 0;
	if (r->kind == MEMORY_UNKNOWN && file)
		r->kind = is_memfd(file) ? MEMORY_MEMFD : MEMORY_FILE;
	if (!admit_begin(&a, r->event, region_ops(r)) || !admit_end(&a))
		return 0;
	if (!(a.flags & (EVENT_UNFILTERED | EVENT_SELF_TEST))) {
		struct transition key = {
			.start_ns = task_start_ns(current_task()),
			.tgid = bpf_get_current_pid_tgid() >> 32,
			.program = BPF_CORE_READ(current_task(), self_exec_id),
			.ops = a.op,
			.region = r->kind,
		};
		__u64 one = 1, *told = bpf_map_lookup_elem(&transitions, &key);

		if (told) {
			__sync_fetch_and_add(told, 1);
			count(a.book->filtered_repeat);
			return 0;
		}
		bpf_map_update_elem(&transitions, &key, &one, BPF_ANY);
	}
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, current_task(), r->event, r->flags | a.flags);
	e->header.tree = a.tree;
	e->address = r->address;
	e->length_bytes = r->length;
	e->result = r->result;
	e->before = r->before;
	e->after = r->after;
	e->region = r->kind;
	e->map_flags = r->map_flags;
	e->path.offset = end;
	e->path.length = 0;
	if (file) {
		BPF_CORE_READ_INTO(&path, file, f_path);
		read_file(path.dentry, BPF_CORE_READ(file, f_inode), &e->file);
		end = append_path(s, end, &path, &e->path);
	} else {
		__builtin_memset(&e->file, 0, sizeof(e->file));
	}
	send_scratch(a.book, s, end, RING_BULK);
	return 0;
}

static __always_inline void read_vma(struct vm_area_struct *vma, struct region *r)
{
	__u64 start = BPF_CORE_READ(vma, vm_start), end = BPF_CORE_READ(vma, vm_end);
	struct mm_struct *mm = BPF_CORE_READ(vma, vm_mm);
	__u64 stack = BPF_CORE_READ(mm, start_stack);

	r->before = BPF_CORE_READ(vma, vm_flags) & (VM_READ | VM_WRITE | VM_EXEC);
	r->file = BPF_CORE_READ(vma, vm_file);
	if (r->file)
		return;
	if (start <= stack && stack < end)
		r->kind = MEMORY_STACK;
	else if (start <= BPF_CORE_READ(mm, brk) && end >= BPF_CORE_READ(mm, start_brk))
		r->kind = MEMORY_HEAP;
	else
		r->kind = MEMORY_ANONYMOUS;
}

/* The hook runs once for each mapping in the range. */
static __always_inline int protect_hook(struct vm_area_struct *vma, unsigned long prot)
{
	struct region r = {.after = prot, .event = EVENT_MEMORY_PROTECT};

	if (!(prot & PROT_EXEC))
		return 0;
	read_vma(vma, &r);
	r.address = BPF_CORE_READ(vma, vm_start);
	r.length = BPF_CORE_READ(vma, vm_end) - r.address;
	return observe_memory(&r);
}

SEC("lsm/file_mprotect")
int BPF_PROG(lsm_protect, struct vm_area_struct *vma, unsigned long asked, unsigned long prot)
{
	protect_hook(vma, prot);
	return 0;
}

SEC("fentry/security_file_mprotect")
int BPF_PROG(fentry_protect, struct vm_area_struct *vma, unsigned long asked, unsigned long prot)
{
	return protect_hook(vma, prot);
}

/* The hook's first argument, read as a number: newer verifiers take it for a file that is
 * there, and drop the test for anonymous memory. */
static __always_inline struct file *mapped_file(unsigned long long *ctx)
{
	struct file *file = NULL;

	bpf_probe_read_kernel(&file, sizeof(file), &ctx[0]);
	return file;
}

static __always_inline int map_hook(struct file *file, unsigned long prot, unsigned long flags)
{
	struct region r = {
		.after = prot & (PROT_READ | PROT_WRITE | PROT_EXEC),
		.event = EVENT_MEMORY_MAP,
		.file = file,
		.map_flags = flags,
		.kind = file ? MEMORY_UNKNOWN : MEMORY_ANONYMOUS,
	};

	return prot & PROT_EXEC ? observe_memory(&r) : 0;
}

SEC("lsm/mmap_file")
int BPF_PROG(lsm_map, struct file *file, unsigned long asked, unsigned long prot,
	     unsigned long flags)
{
	map_hook(mapped_file(ctx), prot, flags);
	return 0;
}

SEC("fentry/security_mmap_file")
int BPF_PROG(fentry_map, struct file *file, unsigned long prot, unsigned long flags)
{
	return map_hook(mapped_file(ctx), prot, flags);
}

static long see_vma(struct task_struct *task, struct vm_area_struct *vma, struct region *r)
{
	read_vma(vma, r);
	/* The call covers mappings behind this one, too. */
	if (BPF_CORE_READ(vma, vm_end) < r->address + r->length)
		r->before = MEMORY_BEFORE_UNKNOWN;
	return 0;
}

static __always_inline __u16 call_flags(void)
{
	return task_in_compat_call(current_task()) ? EVENT_COMPAT : 0;
}

#define READ_IMPLIES_EXEC 0x0400000

/* What the kernel makes of the protection a call asks for. */
static __always_inline __u32 effective_protection(__u64 asked)
{
	if (asked & PROT_READ && BPF_CORE_READ(current_task(), personality) & READ_IMPLIES_EXEC)
		asked |= PROT_EXEC;
	return asked & (PROT_READ | PROT_WRITE | PROT_EXEC);
}

static __always_inline void read_protect_call(struct pt_regs *regs, struct region *r)
{
	bool compat = task_in_compat_call(current_task());

	r->address = call_arg(regs, 0, compat);
	r->length = call_arg(regs, 1, compat);
	r->after = effective_protection(call_arg(regs, 2, compat));
	r->before = MEMORY_BEFORE_UNKNOWN;
	r->event = EVENT_MEMORY_PROTECT;
	r->flags = call_flags();
}

/* At entry: at exit the protection before is gone. */
SEC("tp_btf/sys_enter")
int BPF_PROG(enter_protect, struct pt_regs *regs, long number)
{
	struct region r = {};

	read_protect_call(regs, &r);
	return r.after & PROT_EXEC ? observe_memory(&r) : 0;
}

/* The same where bpf_find_vma exists (5.17): another program, as older verifiers refuse
 * the reference to a callback even in dead code. */
SEC("tp_btf/sys_enter")
int BPF_PROG(enter_protect_vma, struct pt_regs *regs, long number)
{
	struct region r = {};

	read_protect_call(regs, &r);
	if (!(r.after & PROT_EXEC))
		return 0;
	bpf_find_vma(bpf_get_current_task_btf(), r.address, see_vma, &r, 0);
	return observe_memory(&r);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_map, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());
	struct region r = {.event = EVENT_MEMORY_MAP};

	r.after = effective_protection(call_arg(regs, 2, compat));
	if (!(r.after & PROT_EXEC) || (result < 0 && result > -4096))
		return 0;
	r.address = compat ? (__u32)result : result;
	r.length = call_arg(regs, 1, compat);
	r.map_flags = call_arg(regs, 3, compat);
	r.flags = call_flags() | EVENT_RESULT;
	r.result = r.address;
	if (r.map_flags & MAP_ANONYMOUS)
		r.kind = MEMORY_ANONYMOUS;
	else
		r.file = task_file(current_task(), call_arg(regs, 4, compat));
	return observe_memory(&r);
}
