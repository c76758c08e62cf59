//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files: opened for write, created, read although watched, renamed, unlinked, chmod.
 *
 * Hooks:   LSM, else fentry on the same security_* function, else the exit of the
 *          system calls. The upper two see io_uring and what the kernel resolved; they
 *          run before the outcome is known. At the exit of open the kernel's own file is
 *          found by its descriptor; of the other calls only the caller's text is left.
 * Emits:   EVENT_FILE_* to the bulk ring.
 * Filters: own agent, the rules' any, tree of interest, last name, suffix, prefix.
 * Kernel:  5.10. Cost of a refusal: three map look-ups; a prefix interest adds the walk.
 */
#include "seawall.h"
#include "syscall.h"
#include "calltext.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void clear_file(struct file_identity *f)
{
	__builtin_memset(f, 0, sizeof(*f));
}

/* open */

/* Whether overlayfs opens the file of a layer for an open of its own, which was seen: with
 * the mounter's credentials, and through a mount that is in no namespace or, before 6.7,
 * with the caller's path and the layer's inode. */
static __always_inline bool opened_by_filesystem(struct path *path, struct inode *inode)
{
	struct task_struct *task = current_task();
	struct mount *mount = (void *)path->mnt - bpf_core_field_offset(struct mount, mnt);
	long ns;

	if (BPF_CORE_READ(task, cred) == BPF_CORE_READ(task, real_cred))
		return false;
	ns = (long)BPF_CORE_READ(mount, mnt_ns);
	return (ns < 0 && ns >= -MAX_ERRNO) ||
	       BPF_CORE_READ(path->dentry, d_sb) != BPF_CORE_READ(inode, i_sb);
}

/* The caller's flags, where the hook runs after do_dentry_open has cleared O_CREAT and
 * O_TRUNC in the file. */
#define FLAGS_OF_FILE (~0U)

static __noinline int observe_open(struct file *file, __u32 open_flags, __u16 flags, long result)
{
	__u32 mode, end;
	struct admission a;
	struct scratch *s;
	struct file_open *e;
	struct path path;
	struct inode *inode;
	struct dentry *dentry;

	BPF_CORE_READ_INTO(&path, file, f_path);
	inode = BPF_CORE_READ(file, f_inode);
	if (opened_by_filesystem(&path, inode))
		return 0;
	mode = BPF_CORE_READ(file, f_mode);
	if (!admit_begin(&a, EVENT_FILE_OPEN,
			 (mode & (FMODE_WRITE | FMODE_CREATED) ? OP_OPEN_WRITE : 0) |
				 (mode & FMODE_READ ? OP_OPEN_READ : 0)))
		return 0;
	dentry = path.dentry;
	/* A directory is opened to list it: only --no-filter asks for that. */
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFDIR && !(a.flags & EVENT_UNFILTERED)) {
		a.admitted = false;
		admit_end(&a);
		return 0;
	}
	admit_dentry(&a, dentry);
	if (!a.admitted && !(a.control->has_prefix & a.op)) {
		admit_end(&a);
		return 0;
	}
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, current_task(), EVENT_FILE_OPEN, flags | a.flags);
	e->header.tree = a.tree;
	end = append_path(s, sizeof(*e), &path, &e->path);
	admit_prefix(&a, s, &e->path);
	if (admit_end(&a)) {
		if (open_flags == FLAGS_OF_FILE)
			open_flags = BPF_CORE_READ(file, f_flags);
		read_file(dentry, inode, &e->file);
		e->result = result;
		e->flags = open_flags;
		e->seen = (mode & FMODE_WRITE ? OPEN_WRITE : 0) |
			  (mode & FMODE_READ ? OPEN_READ : 0) |
			  (mode & FMODE_CREATED ? OPEN_CREATED : 0) |
			  (open_flags & O_TRUNC ? OPEN_TRUNCATE : 0);
		send_scratch(a.book, s, end, RING_BULK);
	} else {
		scratch_put(s);
	}
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(lsm_open, struct file *file)
{
	observe_open(file, FLAGS_OF_FILE, 0, 0);
	return 0;
}

SEC("fentry/security_file_open")
int BPF_PROG(fentry_open, struct file *file)
{
	return observe_open(file, FLAGS_OF_FILE, 0, 0);
}

/* A failed open says which knob somebody tried. Of all failures only refusals count. */
static __noinline int observe_open_refused(int dirfd, const char *text, __u32 open_flags,
					   __u16 flags, long result)
{
	struct admission a;
	struct scratch *s;
	struct file_open *e;
	__u32 end, write = open_flags & (O_ACCMODE | O_TRUNC | O_CREAT);
	bool read = (open_flags & O_ACCMODE) != O_WRONLY;

	if (!admit_begin(&a, EVENT_FILE_OPEN,
			 (write ? OP_OPEN_WRITE : 0) | (read ? OP_OPEN_READ : 0)))
		return 0;
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	admit_user_path(&a, s, text);
	fill_header(&e->header, current_task(), EVENT_FILE_OPEN, flags | a.flags);
	e->header.tree = a.tree;
	clear_file(&e->file);
	e->result = result;
	e->flags = open_flags;
	e->seen = OPEN_FAILED | (write ? OPEN_WRITE : 0) | (read ? OPEN_READ : 0) |
		  (open_flags & O_TRUNC ? OPEN_TRUNCATE : 0);
	end = append_user_path(s, sizeof(*e), dirfd, text, &e->path);
	admit_prefix(&a, s, &e->path);
	if (admit_end(&a))
		send_scratch(a.book, s, end, RING_BULK);
	else
		scratch_put(s);
	return 0;
}

static __always_inline __u16 exit_flags(void)
{
	return EVENT_RESULT | (task_in_compat_call(current_task()) ? EVENT_COMPAT : 0);
}

static __always_inline int exit_of_open(int dirfd, __u64 text, __u64 open_flags, long result)
{
	if (result >= 0) {
		struct file *file = task_file(current_task(), result);

		return file ? observe_open(file, open_flags, exit_flags(), result) : 0;
	}
	if (result == -EROFS || result == -EACCES || result == -EPERM)
		return observe_open_refused(dirfd, (void *)text, open_flags,
					    exit_flags() | EVENT_USER_MEMORY, result);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_open, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	return exit_of_open(AT_FDCWD, call_arg(regs, 0, compat), call_arg(regs, 1, compat), result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_creat, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	return exit_of_open(AT_FDCWD, call_arg(regs, 0, compat), O_CREAT | O_TRUNC | 1, result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_openat, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	return exit_of_open(call_arg(regs, 0, compat), call_arg(regs, 1, compat),
			    call_arg(regs, 2, compat), result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_openat2, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());
	__u64 open_flags = 0; /* the first field of struct open_how */

	bpf_probe_read_user(&open_flags, sizeof(open_flags), (void *)call_arg(regs, 2, compat));
	return exit_of_open(call_arg(regs, 0, compat), call_arg(regs, 1, compat), open_flags,
			    result);
}

/* rename, unlink, chmod: the kernel's objects */

/* A name that is not opened: the directory's path and the dentry below it. */
static __always_inline __u32 append_child(struct scratch *s, __u32 end, struct path *dir,
					  struct dentry *dentry, struct span *span)
{
	struct path path;

	path.mnt = BPF_CORE_READ(dir, mnt);
	/* Read as a number: the verifier lets no pointer of its own into walk_path. */
	bpf_probe_read_kernel(&path.dentry, sizeof(path.dentry), &dentry);
	return append_path(s, end, &path, span);
}

static __noinline int observe_rename(struct path *old_dir, struct dentry *old, struct path *new_dir,
				     struct dentry *new)
{
	struct admission a;
	struct scratch *s;
	struct file_rename *e;
	__u32 end;

	if (!admit_begin(&a, EVENT_FILE_RENAME, OP_RENAME))
		return 0;
	admit_dentry(&a, old);
	admit_dentry(&a, new);
	if (!a.admitted && !(a.control->has_prefix & a.op)) {
		admit_end(&a);
		return 0;
	}
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, current_task(), EVENT_FILE_RENAME, a.flags);
	e->header.tree = a.tree;
	e->result = 0;
	end = append_child(s, sizeof(*e), old_dir, old, &e->path);
	admit_prefix(&a, s, &e->path);
	end = append_child(s, end, new_dir, new, &e->new_path);
	admit_prefix(&a, s, &e->new_path);
	if (admit_end(&a)) {
		read_file(old, BPF_CORE_READ(old, d_inode), &e->file);
		send_scratch(a.book, s, end, RING_BULK);
	} else {
		scratch_put(s);
	}
	return 0;
}

SEC("lsm/path_rename")
int BPF_PROG(lsm_rename, struct path *old_dir, struct dentry *old, struct path *new_dir,
	     struct dentry *new)
{
	observe_rename(old_dir, old, new_dir, new);
	return 0;
}

SEC("fentry/security_path_rename")
int BPF_PROG(fentry_rename, struct path *old_dir, struct dentry *old, struct path *new_dir,
	     struct dentry *new)
{
	return observe_rename(old_dir, old, new_dir, new);
}

static __noinline int observe_unlink(struct path *dir, struct dentry *dentry)
{
	struct admission a;
	struct scratch *s;
	struct file_unlink *e;
	__u32 end;

	if (!admit_begin(&a, EVENT_FILE_UNLINK, OP_UNLINK))
		return 0;
	admit_dentry(&a, dentry);
	if (!a.admitted && !(a.control->has_prefix & a.op)) {
		admit_end(&a);
		return 0;
	}
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, current_task(), EVENT_FILE_UNLINK, a.flags);
	e->header.tree = a.tree;
	e->result = 0;
	end = append_child(s, sizeof(*e), dir, dentry, &e->path);
	admit_prefix(&a, s, &e->path);
	if (admit_end(&a)) {
		read_file(dentry, BPF_CORE_READ(dentry, d_inode), &e->file);
		send_scratch(a.book, s, end, RING_BULK);
	} else {
		scratch_put(s);
	}
	return 0;
}

SEC("lsm/path_unlink")
int BPF_PROG(lsm_unlink, struct path *dir, struct dentry *dentry)
{
	observe_unlink(dir, dentry);
	return 0;
}

SEC("fentry/security_path_unlink")
int BPF_PROG(fentry_unlink, struct path *dir, struct dentry *dentry)
{
	return observe_unlink(dir, dentry);
}

static __always_inline __u64 chmod_op(__u32 mode)
{
	return OP_CHMOD | (mode & 0111 ? OP_CHMOD_EXECUTABLE : 0);
}

static __noinline int observe_chmod(struct path *at, __u32 mode, __u16 flags)
{
	struct admission a;
	struct scratch *s;
	struct file_chmod *e;
	struct path path;
	__u32 end;

	if (!admit_begin(&a, EVENT_FILE_CHMOD, chmod_op(mode)))
		return 0;
	bpf_core_read(&path, sizeof(path), at);
	admit_dentry(&a, path.dentry);
	if (!a.admitted && !(a.control->has_prefix & a.op)) {
		admit_end(&a);
		return 0;
	}
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	fill_header(&e->header, current_task(), EVENT_FILE_CHMOD, flags | a.flags);
	e->header.tree = a.tree;
	e->result = 0;
	e->mode = mode;
	e->pad = 0;
	end = append_path(s, sizeof(*e), &path, &e->path);
	admit_prefix(&a, s, &e->path);
	if (admit_end(&a)) {
		read_file(path.dentry, BPF_CORE_READ(path.dentry, d_inode), &e->file);
		send_scratch(a.book, s, end, RING_BULK);
	} else {
		scratch_put(s);
	}
	return 0;
}

SEC("lsm/path_chmod")
int BPF_PROG(lsm_chmod, struct path *path, unsigned short mode)
{
	observe_chmod(path, mode, 0);
	return 0;
}

SEC("fentry/security_path_chmod")
int BPF_PROG(fentry_chmod, struct path *path, unsigned short mode)
{
	return observe_chmod(path, mode, 0);
}

/* rename, unlink, chmod: the caller's text, after success */

static __noinline int observe_unlink_call(int dirfd, const char *text)
{
	struct admission a;
	struct scratch *s;
	struct file_unlink *e;
	__u32 end;

	if (!admit_begin(&a, EVENT_FILE_UNLINK, OP_UNLINK))
		return 0;
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	admit_user_path(&a, s, text);
	fill_header(&e->header, current_task(), EVENT_FILE_UNLINK,
		    exit_flags() | EVENT_USER_MEMORY | a.flags);
	e->header.tree = a.tree;
	clear_file(&e->file);
	e->result = 0;
	end = append_user_path(s, sizeof(*e), dirfd, text, &e->path);
	admit_prefix(&a, s, &e->path);
	if (admit_end(&a))
		send_scratch(a.book, s, end, RING_BULK);
	else
		scratch_put(s);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_unlink, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	return result ? 0 : observe_unlink_call(AT_FDCWD, (void *)call_arg(regs, 0, compat));
}

#define AT_REMOVEDIR 0x200

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_unlinkat, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	if (result || call_arg(regs, 2, compat) & AT_REMOVEDIR)
		return 0;
	return observe_unlink_call(call_arg(regs, 0, compat), (void *)call_arg(regs, 1, compat));
}

static __noinline int observe_rename_call(int old_dir, const char *old, int new_dir,
					  const char *new)
{
	struct admission a;
	struct scratch *s;
	struct file_rename *e;
	__u32 end;

	if (!admit_begin(&a, EVENT_FILE_RENAME, OP_RENAME))
		return 0;
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	admit_user_path(&a, s, old);
	admit_user_path(&a, s, new);
	fill_header(&e->header, current_task(), EVENT_FILE_RENAME,
		    exit_flags() | EVENT_USER_MEMORY | a.flags);
	e->header.tree = a.tree;
	clear_file(&e->file);
	e->result = 0;
	end = append_user_path(s, sizeof(*e), old_dir, old, &e->path);
	admit_prefix(&a, s, &e->path);
	end = append_user_path(s, end, new_dir, new, &e->new_path);
	admit_prefix(&a, s, &e->new_path);
	if (admit_end(&a))
		send_scratch(a.book, s, end, RING_BULK);
	else
		scratch_put(s);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_rename, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	if (result)
		return 0;
	return observe_rename_call(AT_FDCWD, (void *)call_arg(regs, 0, compat), AT_FDCWD,
				   (void *)call_arg(regs, 1, compat));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_renameat, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	if (result)
		return 0;
	return observe_rename_call(call_arg(regs, 0, compat), (void *)call_arg(regs, 1, compat),
				   call_arg(regs, 2, compat), (void *)call_arg(regs, 3, compat));
}

static __noinline int observe_chmod_call(int dirfd, const char *text, __u32 mode)
{
	struct admission a;
	struct scratch *s;
	struct file_chmod *e;
	__u32 end;

	if (!admit_begin(&a, EVENT_FILE_CHMOD, chmod_op(mode)))
		return 0;
	s = scratch_get(a.book);
	if (!s)
		return 0;
	e = (void *)s->record;
	admit_user_path(&a, s, text);
	fill_header(&e->header, current_task(), EVENT_FILE_CHMOD,
		    exit_flags() | EVENT_USER_MEMORY | a.flags);
	e->header.tree = a.tree;
	clear_file(&e->file);
	e->result = 0;
	e->mode = mode;
	e->pad = 0;
	end = append_user_path(s, sizeof(*e), dirfd, text, &e->path);
	admit_prefix(&a, s, &e->path);
	if (admit_end(&a))
		send_scratch(a.book, s, end, RING_BULK);
	else
		scratch_put(s);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_chmod, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	if (result)
		return 0;
	return observe_chmod_call(AT_FDCWD, (void *)call_arg(regs, 0, compat),
				  call_arg(regs, 1, compat));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_fchmodat, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());

	if (result)
		return 0;
	return observe_chmod_call(call_arg(regs, 0, compat), (void *)call_arg(regs, 1, compat),
				  call_arg(regs, 2, compat));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exit_fchmod, struct pt_regs *regs, long result)
{
	bool compat = task_in_compat_call(current_task());
	struct file *file;

	if (result)
		return 0;
	file = task_file(current_task(), call_arg(regs, 0, compat));
	if (!file)
		return 0;
	return observe_chmod((void *)file + bpf_core_field_offset(struct file, f_path),
			     call_arg(regs, 1, compat), exit_flags());
}
