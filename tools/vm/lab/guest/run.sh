#!/lab/busybox sh
# Second stage: makes the guest a usual Linux, runs the command, reports.
# Ports: 1 stdout, 2 stderr, 3 what became of it, 4 a tar of /out.
export PATH=/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/lab/busybox mkdir -p /lab/bin
/lab/busybox --install -s /lab/bin

mounted() { # TYPE FOLDER
	[ -d "$2" ] || mkdir -p "$2"
	mount -t "$1" "$1" "$2" || echo "lab: mount $1 on $2 failed"
}
mounted proc /proc
mounted sysfs /sys
mounted devtmpfs /dev
mounted devpts /dev/pts
mounted tmpfs /dev/shm
mounted tmpfs /tmp
mounted tmpfs /run
mounted tmpfs /out
mounted tracefs /sys/kernel/tracing
mounted debugfs /sys/kernel/debug
mounted securityfs /sys/kernel/security
mounted bpf /sys/fs/bpf
mounted cgroup2 /sys/fs/cgroup
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
	echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
mkdir -p /root /etc /bin
[ -e /etc/passwd ] || echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd
[ -e /bin/sh ] || ln -s /lab/busybox /bin/sh
ip link set lo up
hostname lab
ulimit -n 65536

cd /root || exit 1
exec 9>/dev/vport0p3
echo start >&9
sh /lab/command </dev/null >/dev/vport0p1 2>/dev/vport0p2 9>&-
status=$?
[ -e /lab/collect ] && tar -c -C /out -f - . >/dev/vport0p4
echo "exit $status" >&9
sync
reboot -f
