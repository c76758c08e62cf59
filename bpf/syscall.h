/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lowest rung reads a call's arguments at its exit, from the saved registers:
 * the result is there, memory the kernel has read is resident, and nothing has to be
 * carried from entry to exit. Only the value in the first register needs care on arm64.
 */
#ifndef SEAWALL_SYSCALL_H
#define SEAWALL_SYSCALL_H

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bx, cx, dx, si, di, bp, r8, r9, r10;
	unsigned long orig_ax, ax;
} CORE;

#define X32_BIT 0x40000000UL

static __always_inline __u64 call_number(struct pt_regs *regs)
{
	/* The kernel dispatches on the low half; the upper one is the caller's to choose. */
	return (__u32)BPF_CORE_READ(regs, orig_ax) & ~X32_BIT;
}

static __always_inline __u64 call_arg(struct pt_regs *regs, int n, bool compat)
{
	if (compat) {
		switch (n) {
		case 0:
			return (__u32)BPF_CORE_READ(regs, bx);
		case 1:
			return (__u32)BPF_CORE_READ(regs, cx);
		case 2:
			return (__u32)BPF_CORE_READ(regs, dx);
		case 3:
			return (__u32)BPF_CORE_READ(regs, si);
		case 4:
			return (__u32)BPF_CORE_READ(regs, di);
		default:
			return (__u32)BPF_CORE_READ(regs, bp);
		}
	}
	switch (n) {
	case 0:
		return BPF_CORE_READ(regs, di);
	case 1:
		return BPF_CORE_READ(regs, si);
	case 2:
		return BPF_CORE_READ(regs, dx);
	case 3:
		return BPF_CORE_READ(regs, r10);
	case 4:
		return BPF_CORE_READ(regs, r8);
	default:
		return BPF_CORE_READ(regs, r9);
	}
}
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
} CORE;

struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	int syscallno;
} CORE;

static __always_inline __u64 call_number(struct pt_regs *regs)
{
	return (__u32)BPF_CORE_READ(regs, syscallno);
}

static __always_inline __u64 call_arg(struct pt_regs *regs, int n, bool compat)
{
	__u64 value = 0;

	/* Register 0 holds the result by now. */
	if (n == 0)
		value = BPF_CORE_READ(regs, orig_x0);
	else
		bpf_probe_read_kernel(&value, sizeof(value),
				      (void *)regs + bpf_core_field_offset(struct pt_regs, regs) +
					      n * sizeof(value));
	return compat ? (__u32)value : value;
}
#endif

#endif
