/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fields that moved or were renamed between 5.10 and today: one flavour struct
 * per form and one accessor each.
 */
#ifndef SEAWALL_COMPAT_H
#define SEAWALL_COMPAT_H

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
} CORE;

struct inode___ctime_plain { /* until 6.5 */
	struct timespec64 i_ctime;
} CORE;

struct inode___ctime_private { /* 6.6: 13bc24457850 */
	struct timespec64 __i_ctime;
} CORE;

struct inode___ctime_split { /* 6.11: 3aa63a569c64 */
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
} CORE;

/* The top bit says since 6.13 that somebody has asked for the time. */
#define CTIME_NSEC 0x7fffffff

static __always_inline __u64 inode_change_ns(struct inode *inode)
{
	if (bpf_core_field_exists(struct inode___ctime_split, i_ctime_sec)) {
		struct inode___ctime_split *i = (void *)inode;

		return BPF_CORE_READ(i, i_ctime_sec) * 1000000000ULL +
		       (BPF_CORE_READ(i, i_ctime_nsec) & CTIME_NSEC);
	}
	if (bpf_core_field_exists(struct inode___ctime_private, __i_ctime)) {
		struct inode___ctime_private *i = (void *)inode;

		return BPF_CORE_READ(i, __i_ctime.tv_sec) * 1000000000ULL +
		       BPF_CORE_READ(i, __i_ctime.tv_nsec);
	}
	if (bpf_core_field_exists(struct inode___ctime_plain, i_ctime)) {
		struct inode___ctime_plain *i = (void *)inode;

		return BPF_CORE_READ(i, i_ctime.tv_sec) * 1000000000ULL +
		       BPF_CORE_READ(i, i_ctime.tv_nsec);
	}
	return 0;
}

#define TS_COMPAT 2

struct thread_info___x86 {
	__u32 status;
} CORE;

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
} CORE;

struct thread_info___arm64 {
	unsigned long flags;
} CORE;

struct task_struct___arm64 {
	struct thread_info___arm64 thread_info;
} CORE;

#define TIF_32BIT_ARM64 22

/* Whether the task is inside a system call of the 32-bit ABI. */
static __always_inline bool task_in_compat_call(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	struct task_struct___x86 *t = (void *)task;

	return BPF_CORE_READ(t, thread_info.status) & TS_COMPAT;
#elif defined(__TARGET_ARCH_arm64)
	struct task_struct___arm64 *t = (void *)task;

	return BPF_CORE_READ(t, thread_info.flags) & (1UL << TIF_32BIT_ARM64);
#else
#error "no compat test for this architecture"
#endif
}

#endif
