//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Network: connections begun and taken, IPv4, IPv6 and unix.
 *
 * Hooks:   connect at LSM or fentry security_socket_connect (before the outcome), else
 *          at the exit of connect; accept at LSM or fentry security_sock_graft, where the
 *          accepted socket meets its caller, else at the exit of accept and accept4.
 * Emits:   EVENT_NETWORK_* to the bulk ring.
 * Filters: own agent, the rules' any, tree of interest, port or last name of the path,
 *          connections of the host side within a container's network namespace.
 * Kernel:  5.10.
 */
#include "seawall.h"
#include "syscall.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The largest address read: sockaddr_un is 110 bytes. */
#define ADDRESS_BYTES 110

/* Fills the remote end from the len bytes of a sockaddr in s->path. */
static __always_inline void parse_address(struct scratch *s, __u32 len, struct socket_address *to)
{
	to->family = *(__u16 *)s->path;
	if (to->family == AF_INET && len >= 8) {
		to->port = bpf_ntohs(*(__u16 *)&s->path[2]);
		__builtin_memcpy(to->address, &s->path[4], 4);
	} else if (to->family == AF_INET6 && len >= 24) {
		to->port = bpf_ntohs(*(__u16 *)&s->path[2]);
		__builtin_memcpy(to->address, &s->path[8], 16);
	}
}

/* Moves the name of a unix sockaddr of len bytes in s->path to the record at offset at
 * and to the beginning of s->path, and returns its length. A name in the file system ends
 * at its NUL; an abstract one begins with it, and every byte counts. */
static __always_inline __u32 move_unix_name(struct scratch *s, __u32 len, __u32 at)
{
	__u32 n = len - 2;
	long text;

	opaque(n);
	if (n > ADDRESS_BYTES - 2)
		return 0;
	s->path[(2 + n) & (NAME_BYTES - 1)] = 0;
	if (s->path[2] == 0) {
		s->path[2] = '@';
		bpf_probe_read_kernel(&s->record[at], n, &s->path[2]);
	} else {
		text = bpf_probe_read_kernel_str(&s->record[at], ADDRESS_BYTES, &s->path[2]);
		n = text > 0 && text <= ADDRESS_BYTES ? text - 1 : 0;
	}
	opaque(n);
	if (n > ADDRESS_BYTES)
		return 0;
	bpf_probe_read_kernel(s->path, n, &s->record[at]);
	return n;
}

/* Whether a process of the host side begins a stream within a network namespace that is
 * not the host's: what a runtime does for a port-forward, and what nobody else does often. */
static __always_inline bool reaches_inside(struct run_control *control, struct network_flow *e)
{
	return e->type == SOCK_STREAM && control->init.net &&
	       e->local.net_ns != control->init.net && e->header.mount_ns == config.host_mount_ns;
}

/* The sockaddr's len bytes are in s->path. */
static __noinline int observe_connect(struct scratch *s, struct sock *sk, __u32 len, __u16 flags,
				      long result)
{
	struct network_flow *e;
	struct name_key name;
	struct socket_address local = {}, remote = {};
	struct admission a;
	__u32 n, end = sizeof(*e);
	__u16 family;

	if (!s)
		return 0;
	e = (void *)s->record;
	family = *(__u16 *)s->path;
	if (!admit_begin(&a, EVENT_NETWORK_CONNECT,
			 family == AF_UNIX ? OP_CONNECT_UNIX : OP_CONNECT_INET))
		return 0;
	fill_header(&e->header, current_task(), EVENT_NETWORK_CONNECT, flags | a.flags);
	e->header.tree = a.tree;
	read_socket_address(sk, &local, &remote);
	parse_address(s, len, &remote);
	e->local = local;
	e->remote = remote;
	e->result = result;
	e->type = BPF_CORE_READ(sk, sk_type);
	e->protocol = BPF_CORE_READ(sk, sk_protocol);
	e->path.offset = end;
	e->path.length = 0;
	if (family == AF_UNIX) {
		n = move_unix_name(s, len, sizeof(*e));
		e->path.length = n;
		end += n;
		if (!a.admitted && last_name(s, n, &name))
			admit_name(&a, &name);
	} else {
		admit_port(&a, remote.port);
		if (!a.admitted && reaches_inside(a.control, e))
			a.admitted = true;
	}
	if (admit_end(&a))
		send(a.book, s->record, end, RING_BULK);
	return 0;
}

static __always_inline bool is_ours(__u16 family)
{
	return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

static __always_inline int connect_hook(struct socket *socket, struct sockaddr *address,
					int address_len)
{
	struct ledger_row *book = ledger_of(EVENT_NETWORK_CONNECT);
	struct scratch *s;
	__u32 len = address_len;
	__u16 family = 0;

	bpf_probe_read_kernel(&family, sizeof(family), address);
	if (!book || !is_ours(family))
		return 0;
	s = scratch_get(book);
	if (!s) {
		count(book->seen);
		return 0;
	}
	if (len > ADDRESS_BYTES)
		len = ADDRESS_BYTES;
	opaque(len);
	if (len >= 2 && len <= ADDRESS_BYTES && bpf_probe_read_kernel(s->path, len, address) == 0)
		observe_connect(s, BPF_CORE_READ(socket, sk), len, 0, 0);
	scratch_put(s);
	return 0;
}

SEC("lsm/socket_connect")
int BPF_PROG(lsm_connect, struct socket *socket, struct sockaddr *address, int len)
{
	connect_hook(socket, address, len);
	return 0;
}

SEC("fentry/security_socket_connect")
int BPF_PROG(fentry_connect, struct socket *socket, struct sockaddr *address, int len)
{
	return connect_hook(socket, address, len);
}

static __noinline int connect_call(__u32 fd, const void *address, __u32 len, long result)
{
	struct ledger_row *book = ledger_of(EVENT_NETWORK_CONNECT);
	struct file *file = task_file(current_task(), fd);
	struct sock *sk = file ? file_sock(file) : NULL;
	struct scratch *s;
	__u16 family = 0, flags = EVENT_RESULT | EVENT_USER_MEMORY;

	bpf_probe_read_user(&family, sizeof(family), address);
	if (!book || !sk || !is_ours(family))
		return 0;
	if (task_in_compat_call(current_task()))
		flags |= EVENT_COMPAT;
	s = scratch_get(book);
	if (!s) {
		count(book->seen);
		return 0;
	}
	if (len > ADDRESS_BYTES)
		len = ADDRESS_BYTES;
	opaque(len);
	if (len >= 2 && len <= ADDRESS_BYTES && bpf_probe_read_user(s->path, len, address) == 0)
		observe_connect(s, sk, len, flags, result);
	scratch_put(s);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_connect, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	return connect_call(call_arg(regs, 0, compat), (void *)call_arg(regs, 1, compat),
			    call_arg(regs, 2, compat), result);
}

static __noinline int observe_accept(struct sock *sk, __u16 flags, long result)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct network_flow e = {};
	struct admission a;

	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (!admit_begin(&a, EVENT_NETWORK_ACCEPT, OP_ACCEPT))
		return 0;
	read_socket_address(sk, &e.local, &e.remote);
	admit_port(&a, e.local.port);
	if (!admit_end(&a))
		return 0;
	fill_header(&e.header, current_task(), EVENT_NETWORK_ACCEPT, flags | a.flags);
	e.header.tree = a.tree;
	e.result = result;
	e.type = BPF_CORE_READ(sk, sk_type);
	e.protocol = BPF_CORE_READ(sk, sk_protocol);
	e.path.offset = sizeof(e);
	send(a.book, &e, sizeof(e), RING_BULK);
	return 0;
}

SEC("lsm/sock_graft")
int BPF_PROG(lsm_accept, struct sock *sk)
{
	observe_accept(sk, 0, 0);
	return 0;
}

SEC("fentry/security_sock_graft")
int BPF_PROG(fentry_accept, struct sock *sk)
{
	return observe_accept(sk, 0, 0);
}

static __noinline int accept_call(long result)
{
	struct file *file = result >= 0 ? task_file(current_task(), result) : NULL;
	struct sock *sk = file ? file_sock(file) : NULL;

	if (!sk)
		return 0;
	return observe_accept(
		sk, EVENT_RESULT | (task_in_compat_call(current_task()) ? EVENT_COMPAT : 0),
		result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_accept, struct pt_regs *regs, long result)
{
	return accept_call(result);
}

#define SOCKETCALL_CONNECT 3
#define SOCKETCALL_ACCEPT 5
#define SOCKETCALL_ACCEPT4 18

/* The 32-bit ABI's one door to all socket calls. */
SEC("tp_btf/sys_exit")
int BPF_PROG(exit_socketcall, struct pt_regs *regs, long result)
{
	__u32 args[3] = {};
	__u64 call = call_arg(regs, 0, true);

	if (call == SOCKETCALL_ACCEPT || call == SOCKETCALL_ACCEPT4)
		return accept_call(result);
	if (call != SOCKETCALL_CONNECT)
		return 0;
	bpf_probe_read_user(args, sizeof(args), (void *)call_arg(regs, 1, true));
	return connect_call(args[0], (void *)(__u64)args[1], args[2], result);
}
