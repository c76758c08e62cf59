//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lowest rung: one raw pair for all system calls, which tail-calls the program
 * that a concern has put under the call's number. Calls of the 32-bit ABI come through
 * here too, from COMPAT_CALLS on; per-call tracepoints never see those.
 *
 * Hooks:   tp_btf sys_enter, sys_exit; attached only when some hook needs this rung.
 * Kernel:  5.10. Cost: every system call pays the tracing entry and a failed tail call.
 */
#include "seawall.h"
#include "syscall.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline __u32 call_slot(__u64 number)
{
	if (number >= COMPAT_CALLS)
		return 2 * COMPAT_CALLS;
	return task_in_compat_call(current_task()) ? number + COMPAT_CALLS : number;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long number)
{
	bpf_tail_call(ctx, &enter_calls, call_slot(call_number(regs)));
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long result)
{
	bpf_tail_call(ctx, &exit_calls, call_slot(call_number(regs)));
	return 0;
}
