/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names and paths. bpf_d_path is allowed in few hooks and on 5.10 not in LSM ones,
 * so the walk is our own: from the dentry up, over mounts, to the root of the mount
 * namespace. Worst case PATH_DEPTH steps of at most 255 bytes.
 */
#ifndef SEAWALL_PATH_H
#define SEAWALL_PATH_H

/* Keeps the compiler from proving a bound away that the verifier still needs to see. */
#define opaque(var) asm volatile("" : "+r"(var))

/*
 * Writes the path of a dentry and its vfsmount to the end of path in a scratch slot and
 * notes there where it begins and whether its front did not fit.
 *
 * A global function of numbers: the verifier checks it once by itself and not in every
 * caller, which on 5.10 is what keeps the callers under its limit. Where the path begins
 * is kept in memory and not in a variable: the verifier follows a variable's range
 * through all 64 steps and both kinds of step, some 2,000 states; of memory it knows
 * nothing, so that all states of a step are one.
 */
__noinline int walk_path(__u32 slot, __u64 dentry_address, __u64 mount_address)
{
	struct dentry *dentry = (void *)dentry_address;
	struct vfsmount *vfs = (void *)mount_address;
	struct mount *mount = (void *)vfs - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(vfs, mnt_root);
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	volatile __u32 *begin;
	bool whole = false;

	if (!s)
		return 0;
	begin = &s->path_at;
	*begin = PATH_BYTES;
	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *up = BPF_CORE_READ(dentry, d_parent);
		const unsigned char *name;
		__u32 len, at;

		if (dentry == root) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount) {
				whole = true;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		name = BPF_CORE_READ(dentry, d_name.name);
		len = BPF_CORE_READ(dentry, d_name.len) & (NAME_BYTES - 1);
		opaque(len);
		len &= NAME_BYTES - 1;
		at = *begin;
		if (at < len + 1)
			break;
		if (dentry ==
		    up) { /* has no place in a tree: memfd:x, pipe:[1], a disconnected file */
			*begin = at - len;
			bpf_probe_read_kernel(&s->path[(at - len) & (PATH_BYTES - 1)], len, name);
			whole = true;
			break;
		}
		bpf_probe_read_kernel(&s->path[(at - len) & (PATH_BYTES - 1)], len, name);
		at -= len + 1;
		s->path[at & (PATH_BYTES - 1)] = '/';
		*begin = at;
		dentry = up;
	}
	if (whole && *begin == PATH_BYTES) {
		*begin = PATH_BYTES - 1;
		s->path[PATH_BYTES - 1] = '/';
	}
	s->path_truncated = !whole;
	return 0;
}

/* Appends the path to the record at offset end and returns the new end. */
static __always_inline __u32 append_path(struct scratch *s, __u32 end, struct path *path,
					 struct span *span)
{
	struct event_header *h = (void *)s->record;
	__u32 at, len;

	walk_path(s->slot, (__u64)path->dentry, (__u64)path->mnt);
	if (s->path_truncated)
		h->flags |= EVENT_PATH_TRUNCATED;
	at = *(volatile __u32 *)&s->path_at;
	len = PATH_BYTES - at;
	span->offset = end;
	span->length = 0;
	opaque(len);
	if (len == 0 || len > PATH_BYTES)
		return end;
	opaque(at);
	bpf_probe_read_kernel(&s->record[end & SCRATCH_TAIL_MASK], len,
			      &s->path[at & (PATH_BYTES - 1)]);
	span->length = len;
	return end + len;
}

/* Appends a terminated string of the caller's memory, at most room bytes with its NUL.
 * Nothing readable: an empty span. */
static __always_inline __u32 append_user_string(struct scratch *s, __u32 end, __u32 room,
						const char *text, struct span *span)
{
	long n;

	span->offset = end;
	span->length = 0;
	opaque(room);
	if (room == 0 || room > PATH_BYTES)
		return end;
	n = bpf_probe_read_user_str(&s->record[end & SCRATCH_TAIL_MASK], room, text);
	if (n <= 1 || n > PATH_BYTES)
		return end;
	span->length = n - 1;
	return end + n - 1;
}

static __always_inline void read_name(struct dentry *dentry, struct name_key *key)
{
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	__u32 len = BPF_CORE_READ(dentry, d_name.len);

	__builtin_memset(key, 0, sizeof(*key));
	if (len > sizeof(key->text))
		len = sizeof(key->text);
	opaque(len);
	if (len > sizeof(key->text))
		return;
	bpf_probe_read_kernel(key->text, len, name);
}

/* Notes in a scratch slot where the last name of the len bytes of text in its path begins.
 * Global, and through memory, for the verifier's sake, as walk_path. */
__noinline int find_name(__u32 slot, __u32 len)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	volatile __u32 *begin;

	if (!s)
		return 0;
	begin = &s->path_at;
	*begin = len > NAME_BYTES ? len - NAME_BYTES : 0;
	for (int i = 0; i < NAME_BYTES; i++) {
		__u32 at = len - 1 - i;

		if (i >= len)
			break;
		if (s->path[at & (PATH_BYTES - 1)] == '/') {
			*begin = at + 1;
			break;
		}
	}
	return 0;
}

/* The last name of the len bytes of text in s->path, cut to the size of the key. */
static __always_inline bool last_name(struct scratch *s, __u32 len, struct name_key *name)
{
	__u32 from;

	__builtin_memset(name, 0, sizeof(*name));
	find_name(s->slot, len);
	from = *(volatile __u32 *)&s->path_at;
	len -= from;
	if (len > INTEREST_NAME_BYTES)
		len = INTEREST_NAME_BYTES;
	opaque(len);
	if (len > INTEREST_NAME_BYTES)
		return false;
	bpf_probe_read_kernel(name->text, len, &s->path[from & (PATH_BYTES - 1)]);
	return true;
}

/* The end of a name from its last dot as a number, first byte lowest; 0: no dot in the
 * last eight bytes. */
static __always_inline __u64 suffix_of(const unsigned char *name, __u32 len)
{
	__u32 skip = len > 8 ? len - 8 : 0;
	__u32 n = len - skip;
	__u64 text = 0;

	opaque(n);
	if (n > 8)
		return 0;
	bpf_probe_read_kernel(&text, n, name + skip);
	for (int i = 7; i >= 0; i--) {
		if ((text >> (8 * i) & 0xff) == '.')
			return text >> (8 * i);
	}
	return 0;
}

static __always_inline void read_file(struct dentry *dentry, struct inode *inode,
				      struct file_identity *f)
{
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	void *upper = NULL;

	f->inode = BPF_CORE_READ(inode, i_ino);
	f->size_bytes = BPF_CORE_READ(inode, i_size);
	f->change_ns = inode_change_ns(inode);
	f->device = BPF_CORE_READ(sb, s_dev);
	f->filesystem = BPF_CORE_READ(sb, s_magic);
	f->mode = BPF_CORE_READ(inode, i_mode);
	f->uid = BPF_CORE_READ(inode, i_uid.val);
	f->links = BPF_CORE_READ(inode, i_nlink);
	f->flags = 0;
	if (f->links == 0)
		f->flags |= FILE_DELETED;
	if (f->filesystem == OVERLAYFS_MAGIC) {
		f->flags |= FILE_OVERLAY;
		/* struct ovl_inode holds the VFS inode and, right behind it, __upperdentry: so
		 * since 4.19. Module BTF would say it by name, but 5.10 has none. */
		bpf_probe_read_kernel(&upper, sizeof(upper),
				      (void *)inode + bpf_core_type_size(struct inode));
		if (upper)
			f->flags |= FILE_OVERLAY_UPPER;
	} else if (f->filesystem == TMPFS_MAGIC || f->filesystem == HUGETLBFS_MAGIC) {
		char name[6] = {};

		bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
		if (BPF_CORE_READ(dentry, d_parent) == dentry && name[0] == 'm' && name[1] == 'e' &&
		    name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':')
			f->flags |= FILE_MEMFD;
	}
}

static __always_inline struct file *task_file(struct task_struct *task, __u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

#endif
