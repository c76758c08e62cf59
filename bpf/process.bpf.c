//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes: birth, programs, death, moves between namespaces.
 *
 * Hooks:   tp_btf sched_process_fork, sched_process_exec, sched_process_exit on every
 *          kernel; namespaces at fentry switch_task_namespaces, else at the exit of
 *          setns and unshare; the task iterator for what ran before us.
 * Emits:   EVENT_PROCESS_* to the decisive ring. Threads are no processes here.
 * Filters: our own agent; nothing else, the process tree must be whole.
 * Kernel:  5.10. Cost: an exec walks three paths and reads at most ARGS_BYTES of argv.
 */
#define SCRATCH_TAIL_MASK 16383
#define SCRATCH_LAST_BYTES ARGS_BYTES
#include "seawall.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Things that a process does once. Evicting a claim costs telling it twice. */
struct claim {
	__u64 start_ns;
	__u32 tgid;
	__u32 what;
};

enum claimed {
	CLAIM_EXIT = 1,
	CLAIM_ENTRY = 2,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct claim);
	__type(value, __u32);
} claims SEC(".maps");

static __always_inline bool claim_once(struct task_struct *task, enum claimed what)
{
	struct claim key = {
		.start_ns = task_start_ns(task), .tgid = BPF_CORE_READ(task, tgid), .what = what};
	__u32 one = 1;

	return bpf_map_update_elem(&claims, &key, &one, BPF_NOEXIST) == 0;
}

static __always_inline bool was_claimed(struct task_struct *task, enum claimed what)
{
	struct claim key = {
		.start_ns = task_start_ns(task), .tgid = BPF_CORE_READ(task, tgid), .what = what};

	return bpf_map_lookup_elem(&claims, &key);
}

/* What a program is by its names: that of its file, and that it was called by, which
 * tells scripts from their interpreter and the programs of busybox. The latter is the
 * caller's to choose; a mark only adds to what is reported. */
static __always_inline __u32 marks_of(struct scratch *s, struct dentry *exe, __u32 called_bytes)
{
	struct name_key name;
	__u32 *mark, found = 0;

	read_name(exe, &name);
	mark = bpf_map_lookup_elem(&marks, &name);
	if (mark)
		found = *mark;
	if (called_bytes && last_name(s, called_bytes, &name)) {
		mark = bpf_map_lookup_elem(&marks, &name);
		if (mark)
			found |= *mark;
	}
	return found;
}

/* What a program that starts says about the tree it begins. */
static __always_inline __u32 mark_exec(struct task_struct *task, __u32 found, __u64 start_ns,
				       bool entered)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct tree_entry *entry = tree_of(task);
	__u32 reasons = entry ? entry->reasons : 0;

	if (reasons & TREE_WEB_SERVER && !(found & TREE_WEB_SERVER)) {
		reasons &= ~TREE_WEB_SERVER;
		reasons |= TREE_WEB;
	}
	reasons |= found;
	if (entered)
		reasons |= TREE_ENTERED;
	if (entry) {
		entry->reasons = reasons;
	} else if (reasons) {
		struct tree_entry fresh = {
			.start_ns = start_ns, .root_start_ns = start_ns, .reasons = reasons};

		bpf_map_update_elem(&tree, &tgid, &fresh, BPF_ANY);
	}
	return reasons;
}

#define TTY_DRIVER_MAJOR_FIRST 4 /* 4: tty and ttyS, 5: /dev/tty and console */
#define TTY_DRIVER_MAJOR_LAST 5
#define PTS_MAJOR_FIRST 136
#define PTS_MAJOR_LAST 143

static __always_inline void read_stdio(struct task_struct *task, __u32 fd, struct stdio *out)
{
	struct file *file = task_file(task, fd);
	struct inode *inode;
	__u32 mode, major;

	__builtin_memset(out, 0, sizeof(*out));
	if (!file)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	mode = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	out->inode = BPF_CORE_READ(inode, i_ino);
	if (mode == S_IFSOCK) {
		struct socket *socket = BPF_CORE_READ(file, private_data);

		out->kind = STDIO_SOCKET;
		read_socket_address(BPF_CORE_READ(socket, sk), &out->local, &out->remote);
	} else if (mode == S_IFIFO) {
		out->kind = STDIO_PIPE;
	} else if (mode == S_IFCHR) {
		major = BPF_CORE_READ(inode, i_rdev) >> 20;
		out->kind = (major >= TTY_DRIVER_MAJOR_FIRST && major <= TTY_DRIVER_MAJOR_LAST) ||
					    (major >= PTS_MAJOR_FIRST && major <= PTS_MAJOR_LAST) ?
				    STDIO_TTY :
				    STDIO_DEVICE;
	} else {
		out->kind = STDIO_FILE;
		out->device = BPF_CORE_READ(inode, i_sb, s_dev);
	}
}

/* Facts that an exec and the seed share. Returns where the tail begins. */
static __always_inline __u32 fill_image(struct scratch *s, struct task_struct *task,
					struct file *exe)
{
	struct process_exec *e = (void *)s->record;
	const struct cred *cred = BPF_CORE_READ(task, cred);

	read_namespaces(task, &e->namespaces);
	read_stdio(task, 0, &e->stdio[0]);
	read_stdio(task, 1, &e->stdio[1]);
	read_stdio(task, 2, &e->stdio[2]);
	bpf_core_read(&e->cap_effective, sizeof(e->cap_effective), &cred->cap_effective);
	bpf_core_read(&e->cap_permitted, sizeof(e->cap_permitted), &cred->cap_permitted);
	e->uid = BPF_CORE_READ(cred, uid.val);
	e->gid = BPF_CORE_READ(cred, gid.val);
	e->euid = BPF_CORE_READ(cred, euid.val);
	e->egid = BPF_CORE_READ(cred, egid.val);
	e->suid = BPF_CORE_READ(cred, suid.val);
	e->sgid = BPF_CORE_READ(cred, sgid.val);
	e->ns_tgid = task_ns_tgid(task);
	e->session_id = task_session_leader(task);
	e->tty = task_tty(task);
	e->args_bytes = 0;
	e->flags = 0;
	e->pad = 0;
	e->args.offset = e->args.length = 0;
	e->filename.offset = e->filename.length = 0;
	if (exe) {
		read_file(BPF_CORE_READ(exe, f_path.dentry), BPF_CORE_READ(exe, f_inode), &e->file);
	} else {
		__builtin_memset(&e->file, 0, sizeof(e->file));
	}
	return sizeof(*e);
}

/* Whether the task came into its cgroup from outside, in a container's mount
 * namespace: what a runtime does to start a container or to exec into one. */
static __always_inline bool task_entered(struct task_struct *task, __u64 cgroup_id)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	return task_mount_ns(task) != config.host_mount_ns && task_cgroup_id(parent) != cgroup_id;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct ledger_row *book = ledger_of(EVENT_PROCESS_EXEC);
	struct scratch *s;
	struct process_exec *e;
	struct file *exe = BPF_CORE_READ(bprm, file);
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct path path;
	unsigned long args, args_end;
	__u32 end, n;

	if (!book)
		return 0;
	count(book->seen);
	s = scratch_get(book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, task, EVENT_PROCESS_EXEC, EVENT_RESULT);
	end = fill_image(s, task, exe);
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec))
		e->flags |= EXEC_SECURE;
	/* Only the first program: an entry point that runs another one enters once. */
	if (task_entered(task, e->header.cgroup_id) && claim_once(task, CLAIM_ENTRY)) {
		__u64 id = e->header.cgroup_id;
		__u32 *inhabited = bpf_map_lookup_elem(&cgroups, &id);

		e->flags |= EXEC_ENTERED;
		if (inhabited && !*inhabited) {
			*inhabited = 1;
			e->flags |= EXEC_INIT;
		}
	}
	BPF_CORE_READ_INTO(&path, exe, f_path);
	end = append_path(s, end, &path, &e->path);
	BPF_CORE_READ_INTO(&path, task, fs, pwd);
	end = append_path(s, end, &path, &e->cwd);
	e->filename.offset = end;
	n = bpf_probe_read_kernel_str(s->path, PATH_BYTES, BPF_CORE_READ(bprm, filename));
	if (n > 1 && n <= PATH_BYTES) {
		bpf_probe_read_kernel(&s->record[end & SCRATCH_TAIL_MASK], n, s->path);
		e->filename.length = n - 1;
		end += n - 1;
	}
	e->header.tree = mark_exec(task,
				   marks_of(s, BPF_CORE_READ(exe, f_path.dentry),
					    e->filename.length & (PATH_BYTES - 1)),
				   e->header.start_ns,
				   (e->flags & (EXEC_ENTERED | EXEC_INIT)) == EXEC_ENTERED);

	args = BPF_CORE_READ(mm, arg_start);
	args_end = BPF_CORE_READ(mm, arg_end);
	e->args_bytes = args_end - args;
	n = e->args_bytes;
	if (n > ARGS_BYTES) {
		n = ARGS_BYTES;
		e->flags |= EXEC_ARGS_TRUNCATED;
	}
	opaque(n);
	e->args.offset = end;
	if (n <= ARGS_BYTES) {
		/* execve has just written these pages; they are there unless memory is so short
		 * that they were swapped out already. */
		if (bpf_probe_read_user(&s->record[end & SCRATCH_TAIL_MASK], n, (void *)args) ==
		    0) {
			e->args.length = n;
			end += n;
		} else {
			e->flags |= EXEC_ARGS_UNREADABLE;
		}
	}
	send_scratch(book, s, end, RING_DECISIVE);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct ledger_row *book;
	struct process_fork e = {};
	struct task_struct *child_parent;
	struct tree_entry *entry;
	__u32 child_tgid = BPF_CORE_READ(child, tgid);

	if (BPF_CORE_READ(child, pid) != child_tgid)
		return 0;
	book = ledger_of(EVENT_PROCESS_FORK);
	if (!book)
		return 0;
	count(book->seen);
	fill_header(&e.header, parent, EVENT_PROCESS_FORK, EVENT_RESULT);
	entry = tree_of(parent);
	if (!entry) {
		/* What a former process of the child's number left. */
		bpf_map_delete_elem(&tree, &child_tgid);
	} else {
		struct tree_entry inherited = {.root_start_ns = entry->root_start_ns,
					       .reasons = entry->reasons};

		inherited.start_ns = BPF_CORE_READ(child, start_boottime);
		bpf_map_update_elem(&tree, &child_tgid, &inherited, BPF_ANY);
		e.header.tree = entry->reasons;
		e.child_tree = entry->reasons;
	}
	child_parent = BPF_CORE_READ(child, real_parent);
	e.child_start_ns = BPF_CORE_READ(child, start_boottime);
	e.child_cgroup_id = task_cgroup_id(child);
	e.child_parent_start_ns = task_start_ns(child_parent);
	e.child_tgid = child_tgid;
	e.child_parent_tgid = BPF_CORE_READ(child_parent, tgid);
	e.child_ns_tgid = task_ns_tgid(child);
	e.child_pid_ns = task_pid_ns(child);
	send(book, &e, sizeof(e), RING_DECISIVE);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct ledger_row *book;
	struct process_exit e = {};
	struct tree_entry *entry;
	__u32 tgid = BPF_CORE_READ(task, tgid);

	/* The tracepoint fires for every thread; the group is gone with the last one. Two
	 * that end at once may both see the count at zero: the first to claim tells. It may
	 * have been released when the second comes, which then looks like the only one. */
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	if (BPF_CORE_READ(task, signal, nr_threads) > 1 ? !claim_once(task, CLAIM_EXIT) :
							  was_claimed(task, CLAIM_EXIT))
		return 0;
	book = ledger_of(EVENT_PROCESS_EXIT);
	if (!book)
		return 0;
	count(book->seen);
	fill_header(&e.header, task, EVENT_PROCESS_EXIT, EVENT_RESULT);
	entry = tree_of(task);
	if (entry) {
		e.header.tree = entry->reasons;
		bpf_map_delete_elem(&tree, &tgid);
	}
	e.exit_code = BPF_CORE_READ(task, signal, group_exit_code);
	/* wait(2) shows the leader's, whichever thread was last. */
	if (!e.exit_code)
		e.exit_code = BPF_CORE_READ(task, group_leader, exit_code);
	send(book, &e, sizeof(e), RING_DECISIVE);
	return 0;
}

static __always_inline void read_proxy(struct nsproxy *proxy, struct namespaces *ns)
{
	ns->mount = BPF_CORE_READ(proxy, mnt_ns, ns.inum);
	ns->pid = BPF_CORE_READ(proxy, pid_ns_for_children, ns.inum);
	ns->net = BPF_CORE_READ(proxy, net_ns, ns.inum);
	ns->uts = BPF_CORE_READ(proxy, uts_ns, ns.inum);
	ns->ipc = BPF_CORE_READ(proxy, ipc_ns, ns.inum);
	ns->cgroup = BPF_CORE_READ(proxy, cgroup_ns, ns.inum);
}

static __always_inline int observe_namespace(struct nsproxy *before, struct nsproxy *after,
					     __u16 flags, long result)
{
	struct task_struct *task = current_task();
	struct process_namespace e = {};
	struct admission a;

	if (!admit_begin(&a, EVENT_PROCESS_NAMESPACE, OP_NAMESPACE))
		return 0;
	/* Rare and decisive: never filtered but for our own. */
	fill_header(&e.header, task, EVENT_PROCESS_NAMESPACE, flags | a.flags);
	e.header.flags &= ~(EVENT_UNFILTERED | EVENT_BY_TREE);
	e.header.tree = a.tree;
	if (before)
		read_proxy(before, &e.before);
	read_proxy(after, &e.after);
	e.before.user = e.after.user = BPF_CORE_READ(task, cred, user_ns, ns.inum);
	e.result = result;
	send(a.book, &e, sizeof(e), RING_DECISIVE);
	return 0;
}

SEC("fentry/switch_task_namespaces")
int BPF_PROG(fentry_namespace, struct task_struct *task, struct nsproxy *after)
{
	/* Exit gives the namespaces up with NULL; clone sets up the child elsewhere. */
	if (!after || task != (void *)bpf_get_current_task())
		return 0;
	return observe_namespace(BPF_CORE_READ(task, nsproxy), after, 0, 0);
}

/* At the exit of setns and unshare the old namespaces are gone; user space knows them
 * from the process table. */
SEC("tp_btf/sys_exit")
int BPF_PROG(exit_namespace, struct pt_regs *regs, long result)
{
	if (result != 0)
		return 0;
	return observe_namespace(NULL, BPF_CORE_READ(current_task(), nsproxy), EVENT_RESULT, 0);
}

#define KTHREADD 2
#define ANCESTORS 64

/* The iterator runs in the agent, and yields only what that one's pid namespace shows. So
 * it notes what else the agent has to know, as the host counts: its own number, and the
 * namespaces of process 1, an ancestor of all. */
static __always_inline void note_host(struct run_control *control)
{
	struct task_struct *task = current_task();

	control->agent_tgid = bpf_get_current_pid_tgid() >> 32;
	for (int i = 0; i < ANCESTORS; i++) {
		if (BPF_CORE_READ(task, tgid) == 1) {
			read_namespaces(task, &control->init);
			break;
		}
		task = BPF_CORE_READ(task, real_parent);
	}
}

SEC("iter/task")
int process_seed(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct seq_file *seq = ctx->meta->seq;
	struct ledger_row *book = ledger_of(EVENT_PROCESS_SEED);
	struct run_control *control = control_now();
	struct process_exec *e;
	struct scratch *s;
	struct file *exe;
	struct path path;
	__u32 end;

	if (control && !control->agent_tgid)
		note_host(control);
	if (!task || !book || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	/* Of the kernel's own threads only kthreadd: the ancestor of its helper programs. */
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD && BPF_CORE_READ(task, pid) != KTHREADD)
		return 0;
	s = scratch_get(book);
	if (!s)
		return 0;
	e = (void *)s->record;
	exe = BPF_CORE_READ(task, mm, exe_file);
	fill_header(&e->header, task, EVENT_PROCESS_SEED, 0);
	end = fill_image(s, task, exe);
	if (task_entered(task, e->header.cgroup_id))
		e->flags |= EXEC_ENTERED;
	e->flags |= EXEC_ARGS_UNREADABLE; /* another process's memory; procfs has it */
	e->path.offset = e->path.length = 0;
	if (exe) {
		BPF_CORE_READ_INTO(&path, exe, f_path);
		end = append_path(s, end, &path, &e->path);
	}
	BPF_CORE_READ_INTO(&path, task, fs, pwd);
	end = append_path(s, end, &path, &e->cwd);
	e->header.size = end;
	/* A record that does not fit any more is asked for again in the next read. */
	if (end <= SCRATCH_BYTES && bpf_seq_write(seq, s->record, end) == 0)
		count(book->emitted);
	scratch_put(s);
	return 0;
}
