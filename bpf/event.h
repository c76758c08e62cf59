/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire layout between the kernel and agent/decode: one common header, one
 * fixed struct per kind, then a tail that spans point into. Numbers here are
 * final: the same ones name the kinds in proto/sensor/v1/event.proto.
 *
 * Natural alignment, explicit padding, widest first, never packed. Every byte
 * that is sent is written: ring bytes leave the host. Units stand in the name
 * (_ns, _bytes). Times are nanoseconds of CLOCK_BOOTTIME. Text in the tail is
 * not terminated and may hold any byte but NUL (argv: NUL between words).
 */
#ifndef SEAWALL_EVENT_H
#define SEAWALL_EVENT_H

enum event_kind {
	EVENT_NONE = 0,

	EVENT_PROCESS_FORK = 1,
	EVENT_PROCESS_EXEC = 2,
	EVENT_PROCESS_EXIT = 3,
	EVENT_PROCESS_NAMESPACE = 4,
	EVENT_PROCESS_SEED = 5, /* from the task iterator, never from a ring */

	EVENT_FILE_OPEN = 16,
	EVENT_FILE_RENAME = 17,
	EVENT_FILE_UNLINK = 18,
	EVENT_FILE_CHMOD = 19,

	EVENT_NETWORK_CONNECT = 32,
	EVENT_NETWORK_ACCEPT = 33,

	EVENT_MEMORY_PROTECT = 48,
	EVENT_MEMORY_MAP = 49,

	EVENT_CGROUP_CREATE = 64,
	EVENT_CGROUP_REMOVE = 65,

	EVENT_KIND_MAX = 72, /* size of tables indexed by kind */
};

/* Header flags: how much the record can be believed, and what admitted it. */
enum event_flags {
	/* An argument was read from user memory, where another thread may change it. */
	EVENT_USER_MEMORY = 1 << 0,
	/* The call came through the 32-bit ABI. */
	EVENT_COMPAT = 1 << 1,
	/* `result` holds the call's outcome; without it the hook ran before that was known. */
	EVENT_RESULT = 1 << 2,
	/* Admitted because the process belongs to the tree of interest, not by a rule's interest. */
	EVENT_BY_TREE = 1 << 3,
	/* Made by the agent's self-test. */
	EVENT_SELF_TEST = 1 << 4,
	/* A path was longer than PATH_BYTES or deeper than PATH_DEPTH: the front of what the
	 * kernel resolved is missing, or the end of what the caller wrote. */
	EVENT_PATH_TRUNCATED = 1 << 5,
	/* Admitted although nothing asked for it: filters are off. */
	EVENT_UNFILTERED = 1 << 6,
};

/* Why a process belongs to the tree of interest. Inherited on fork, kept over exec. */
enum tree_reason {
	TREE_ENTERED = 1 << 0,	  /* came into a running container from outside */
	TREE_WEB = 1 << 1,	  /* child of a web server or its application runtime */
	TREE_DOWNLOAD = 1 << 2,	  /* a download tool or its child */
	TREE_RULE = 1 << 3,	  /* a rule hit */
	TREE_COLLECTOR = 1 << 4,  /* asked for by the collector */
	TREE_WEB_SERVER = 1 << 5, /* the web server itself: its forks become TREE_WEB at exec */
};

struct span {
	__u32 offset; /* from the start of the record */
	__u32 length;
};

struct event_header {
	__u64 time_ns;
	__u64 sequence; /* per CPU and ring, from 1, without gaps unless a record was dropped */
	__u64 start_ns; /* start_boottime of the thread group leader */
	__u64 parent_start_ns;
	__u64 cgroup_id; /* kernfs id in the hierarchy chosen at load */
	__u32 size;	 /* of the whole record, tail included */
	__u16 kind;
	__u16 flags;
	__u32 cpu;
	__u32 tgid;
	__u32 tid;
	__u32 parent_tgid;
	__u32 uid;
	__u32 euid;
	__u32 gid;
	__u32 mount_ns;
	__u32 pid_ns;
	__u32 tree; /* enum tree_reason */
	char comm[16];
};

enum file_flags {
	FILE_OVERLAY_UPPER = 1 << 0, /* on the writable layer of an overlay: not as in the image */
	FILE_MEMFD = 1 << 1,
	FILE_DELETED = 1 << 2, /* no name is left */
	FILE_OVERLAY = 1 << 3,
};

struct file_identity {
	__u64 inode;
	__u64 size_bytes;
	__u64 change_ns;  /* ctime, nanoseconds since 1970; 0: could not be read */
	__u32 device;	  /* super_block.s_dev: major << 20 | minor */
	__u32 filesystem; /* super_block.s_magic */
	__u32 mode;	  /* type and permission bits */
	__u32 uid;
	__u32 links;
	__u32 flags; /* enum file_flags */
};

struct namespaces {
	__u32 mount;
	__u32 pid; /* of the task itself; in namespace events of its coming children */
	__u32 net;
	__u32 user;
	__u32 uts;
	__u32 ipc;
	__u32 cgroup;
	__u32 pad;
};

enum stdio_kind {
	STDIO_NONE = 0, /* closed */
	STDIO_FILE = 1,
	STDIO_PIPE = 2,
	STDIO_SOCKET = 3,
	STDIO_TTY = 4,
	STDIO_DEVICE = 5, /* a character device that is no terminal, mostly /dev/null */
};

struct socket_address {
	__u8 address[16]; /* IPv4: the first four; network order */
	__u16 port;	  /* host order */
	__u16 family;	  /* AF_INET, AF_INET6, AF_UNIX; 0: none */
	__u32 net_ns;	  /* network namespace of the socket, of local addresses; 0: not told */
};

struct stdio {
	__u64 inode;
	struct socket_address local;
	struct socket_address remote;
	__u32 kind;   /* enum stdio_kind */
	__u32 device; /* of a file: with inode it names it; 0: other kinds */
};

enum exec_flags {
	/* First program of a process that came into its cgroup from outside, in a mount
	 * namespace other than the host's: a container's init, or kubectl exec and the like. */
	EXEC_ENTERED = 1 << 0,
	/* ... and the first such one since the cgroup was made: the container's init. */
	EXEC_INIT = 1 << 1,
	EXEC_ARGS_TRUNCATED = 1 << 2,
	/* argv could not be read at all. */
	EXEC_ARGS_UNREADABLE = 1 << 3,
	/* The kernel raised privileges (set-user-id, set-group-id, file capabilities). */
	EXEC_SECURE = 1 << 4,
};

struct process_exec { /* EVENT_PROCESS_EXEC and EVENT_PROCESS_SEED */
	struct event_header header;
	struct file_identity file;
	struct namespaces namespaces;
	struct stdio stdio[3];
	__u64 cap_effective;
	__u64 cap_permitted;
	__u32 uid;
	__u32 gid;
	__u32 euid;
	__u32 egid;
	__u32 suid;
	__u32 sgid;
	__u32 ns_tgid;	  /* tgid as the task's own pid namespace counts it */
	__u32 session_id; /* setsid(2) leader, host numbering */
	__u32 tty; /* device number of the controlling terminal: major << 20 | minor; 0: none */
	__u32 args_bytes; /* length of argv before truncation */
	__u32 flags;	  /* enum exec_flags */
	__u32 pad;
	struct span path; /* of the executable, as the kernel resolved it */
	struct span cwd;
	struct span args;     /* words, each ended by NUL */
	struct span filename; /* as it was called: a script's own path, a relative name */
};

struct process_fork {
	struct event_header header; /* of the task that forked */
	__u64 child_start_ns;
	__u64 child_cgroup_id;
	__u64 child_parent_start_ns; /* differs from the header's process under CLONE_PARENT */
	__u32 child_tgid;
	__u32 child_parent_tgid;
	__u32 child_ns_tgid;
	__u32 child_pid_ns;
	__u32 child_tree;
	__u32 pad;
};

struct process_exit {
	struct event_header header;
	__u32 exit_code; /* wait(2) status: code << 8 | signal */
	__u32 pad;
};

struct process_namespace {
	struct event_header header;
	struct namespaces before;
	struct namespaces after;
	__s64 result;
};

enum open_flags_seen {
	OPEN_WRITE = 1 << 0,
	OPEN_READ = 1 << 1,
	OPEN_CREATED = 1 << 2, /* the file did not exist before; only where the kernel says so */
	OPEN_TRUNCATE = 1 << 3,
	OPEN_FAILED = 1 << 4, /* no file came of it; path as the caller wrote it */
};

struct file_open {
	struct event_header header;
	struct file_identity file;
	__s64 result; /* descriptor or -errno, with EVENT_RESULT */
	__u32 flags;  /* open(2) flags */
	__u32 seen;   /* enum open_flags_seen */
	struct span path;
};

struct file_rename {
	struct event_header header;
	struct file_identity file;
	__s64 result;
	struct span path;
	struct span new_path;
};

struct file_unlink {
	struct event_header header;
	struct file_identity file;
	__s64 result;
	struct span path;
};

struct file_chmod {
	struct event_header header;
	struct file_identity file;
	__s64 result;
	__u32 mode; /* asked for */
	__u32 pad;
	struct span path;
};

struct network_flow { /* EVENT_NETWORK_CONNECT and EVENT_NETWORK_ACCEPT */
	struct event_header header;
	struct socket_address local;
	struct socket_address remote;
	__s64 result;
	__u32 type;	  /* SOCK_STREAM, SOCK_DGRAM, ... */
	__u32 protocol;	  /* IPPROTO_* */
	struct span path; /* AF_UNIX: the name; a leading '@' stands for the abstract name's NUL */
};

enum memory_region_kind {
	MEMORY_UNKNOWN = 0,
	MEMORY_ANONYMOUS = 1,
	MEMORY_FILE = 2,
	MEMORY_MEMFD = 3,
	MEMORY_STACK = 4,
	MEMORY_HEAP = 5,
};

struct memory_change { /* EVENT_MEMORY_PROTECT and EVENT_MEMORY_MAP */
	struct event_header header;
	struct file_identity file;
	__u64 address; /* 0: not yet known to the hook */
	__u64 length_bytes;
	__s64 result;
	__u32 before; /* PROT_* of the region so far; MEMORY_BEFORE_UNKNOWN, or 0 for a new mapping */
	__u32 after;	 /* PROT_* asked for */
	__u32 region;	 /* enum memory_region_kind */
	__u32 map_flags; /* mmap(2) flags */
	struct span path;
};

#define MEMORY_BEFORE_UNKNOWN 0x80000000u

struct cgroup_change {		    /* EVENT_CGROUP_CREATE and EVENT_CGROUP_REMOVE */
	struct event_header header; /* of the task that made or removed it */
	__u64 id;
	struct span path; /* from the root of the chosen hierarchy */
};

/* Bounds of the tail. */
#define PATH_BYTES 4096
#define PATH_DEPTH 64
#define ARGS_BYTES 8192

#endif
