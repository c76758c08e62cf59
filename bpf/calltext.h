/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Paths as callers of system calls wrote them, for the lowest rung: the last name
 * decides about admission, and the text is made absolute with the directory it is
 * relative to. Another thread can change such text: its events say EVENT_USER_MEMORY.
 */
#ifndef SEAWALL_CALLTEXT_H
#define SEAWALL_CALLTEXT_H

/* Asks for the last name of the caller's text, and for its suffix. */
static __always_inline void admit_user_path(struct admission *a, struct scratch *s,
					    const char *text)
{
	long n = bpf_probe_read_user_str(s->path, PATH_BYTES, text);
	__u32 len = n - 1, tail;
	struct name_key name;
	__u64 suffix, *ops;

	if (a->admitted || n <= 1 || n > PATH_BYTES || !last_name(s, len, &name))
		return;
	admit_name(a, &name);
	if (a->admitted || !(a->control->has_suffix & a->op))
		return;
	tail = len > 8 ? len - 8 : 0;
	suffix = suffix_of((unsigned char *)&s->path[tail & (PATH_BYTES - 1)], len - tail);
	ops = suffix ? bpf_map_lookup_elem(&interest_suffix, &suffix) : NULL;
	if (ops && *ops & a->op)
		a->admitted = true;
}

/* An absolute path is appended as it is; before a relative one comes the directory. Both
 * together take at most PATH_BYTES, and text behind a directory begins nowhere that the
 * mask would fold back onto the header: the end of what is longer is cut, and the event
 * says so. */
static __noinline __u32 append_user_path(struct scratch *s, __u32 end, int dirfd, const char *text,
					 struct span *span)
{
	struct task_struct *task = current_task();
	struct event_header *h;
	struct span part;
	struct path path = {};
	__u32 begin = end, used, room;
	char first = 0;

	if (!s || !span)
		return end;
	h = (void *)s->record;
	bpf_probe_read_user(&first, 1, text);
	if (first != '/') {
		if (dirfd == AT_FDCWD) {
			BPF_CORE_READ_INTO(&path, task, fs, pwd);
		} else {
			struct file *dir = task_file(task, dirfd);

			/* Closed meanwhile by another thread: what the text is relative to is lost. */
			if (!dir)
				h->flags |= EVENT_PATH_TRUNCATED;
			BPF_CORE_READ_INTO(&path, dir, f_path);
		}
		if (path.dentry)
			end = append_path(s, end, &path, &part);
		used = end - begin;
		if (used > 1 && used < PATH_BYTES && end <= SCRATCH_TAIL_MASK) {
			s->record[end & SCRATCH_TAIL_MASK] = '/';
			end++;
		}
	}
	used = end - begin;
	room = used < PATH_BYTES && end <= SCRATCH_TAIL_MASK ? PATH_BYTES - used : 0;
	part.length = 0;
	if (room)
		end = append_user_string(s, end, room, text, &part);
	/* As long as there was room: it may have been longer. */
	if (part.length + 1 >= room)
		h->flags |= EVENT_PATH_TRUNCATED;
	span->offset = begin;
	span->length = end - begin;
	return end;
}

#endif
