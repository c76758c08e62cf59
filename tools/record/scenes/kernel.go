package scenes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// hostProc mounts the procfs of the host, whose process 2 is the kernel's own and
// never leaves the namespaces that the host began with.
const hostProc = "type=bind,src=/proc,dst=/host/proc,options=rbind:ro"

func knobs() []Scene {
	const agent = "escape-release-agent/"
	const core = "escape-core-pattern/"
	const modprobe = "escape-modprobe-path/"
	// The root of a v1 hierarchy, the only place that has the file.
	mounted := func(how string) []string {
		return []string{"type=bind,src=/sys/fs/cgroup/freezer,dst=/mnt/cgroup,options=rbind:" + how}
	}
	knob := func(path string) []string { return []string{"/usr/local/bin/attack", "knob", path} }
	return []Scene{
		{
			File: agent + "positive-opened.jsonl", Note: "A container to which the host's cgroups are mounted opens release_agent for writing. Nothing is written.", Keep: noReads,
			Play: play(box{mounts: mounted("rw"), args: knob("/mnt/cgroup/release_agent")}, `"result":"ok"`),
		},
		{
			File: agent + "positive-refused.jsonl", Note: "The same where the mount is read-only: the kernel refuses.", Keep: noReads,
			Play: play(box{mounts: mounted("ro"), args: knob("/mnt/cgroup/release_agent")}, "read-only"),
		},
		{
			File: agent + "negative-read.jsonl", Note: "A container reads release_agent.", Unfiltered: true, Keep: about("release_agent"),
			Play: play(box{mounts: mounted("ro"), args: sh("cat /mnt/cgroup/release_agent; echo ran")}, "ran"),
		},
		{
			File: agent + "negative-ordinary-file.jsonl", Note: "A file that is called release_agent is written in /tmp.", Unfiltered: true, Keep: about("release_agent"),
			Play: play(box{args: sh("echo x > /tmp/release_agent; echo ran")}, "ran"),
		},
		{
			File: core + "positive-refused.jsonl", Note: "A container tries to open core_pattern for writing; its /proc/sys is read-only.", Keep: noReads,
			Play: play(box{args: knob("/proc/sys/kernel/core_pattern")}, "read-only"),
		},
		{
			File: core + "positive-opened.jsonl", Note: "A privileged container opens core_pattern for writing. Nothing is written.", Keep: noReads,
			Play: play(box{flags: []string{"--privileged"}, args: knob("/proc/sys/kernel/core_pattern")}, `"result":"ok"`),
		},
		{
			File: core + "negative-read.jsonl", Note: "A container reads core_pattern.", Unfiltered: true, Keep: about("core_pattern"),
			Play: play(box{args: sh("cat /proc/sys/kernel/core_pattern; echo ran")}, "ran"),
		},
		{
			// The kernel that made the recordings has no modules and so no such knob.
			File: modprobe + "positive-refused.jsonl", Note: "A container tries to open the modprobe path of the host's procfs for writing; the mount is read-only. The file is a stand-in: the kernel was built without modules.", Keep: noReads,
			Prepare: func(context.Context, *Set) error {
				_, err := file("proc/sys/kernel/modprobe", "/sbin/modprobe\n")
				return err
			},
			Play: play(box{
				mounts: []string{"type=bind,src=" + filepath.Join(workDir, "proc") + ",dst=/host/proc,options=rbind:ro"},
				args:   sh("(: >> /host/proc/sys/kernel/modprobe) || echo ran"),
			}, "ran"),
		},
		{
			File: modprobe + "negative-installed.jsonl", Note: "A program called modprobe is written into a container's own file system.", Unfiltered: true, Keep: about("modprobe"),
			Play: play(box{args: sh("echo x > /usr/sbin/modprobe; echo ran")}, "ran"),
		},
		{
			File: modprobe + "negative-refused-elsewhere.jsonl", Note: "A program called modprobe cannot be written: its folder is read-only.", Unfiltered: true, Keep: about("modprobe"),
			Play: play(box{flags: []string{"--read-only"}, args: sh("(echo x > /usr/sbin/modprobe) || echo ran")}, "ran"),
		},
	}
}

func escapes() []Scene {
	const namespace = "escape-container-process-in-host-ns/"
	const socket = "escape-docker-socket/"
	privileged := []string{"--privileged"}
	return []Scene{
		{
			File: namespace + "positive-nsenter.jsonl", Note: "A privileged container to which the host's procfs is mounted enters the host's UTS and IPC namespaces with nsenter.", Keep: noReads,
			Play: play(box{flags: privileged, mounts: []string{hostProc}, args: []string{
				"/usr/bin/nsenter", "--uts=/host/proc/2/ns/uts", "--ipc=/host/proc/2/ns/ipc", "echo", "ran",
			}}, "ran"),
		},
		{
			File: namespace + "positive-setns-mount.jsonl", Note: "The same by setns into the host's mount and network namespaces; nothing is done there.", Keep: noReads,
			Play: play(box{flags: privileged, mounts: []string{hostProc}, args: []string{
				"/usr/local/bin/attack", "setns", "/host/proc/2/ns/net", "/host/proc/2/ns/mnt",
			}}, `"result":"ok"`),
		},
		{
			File: namespace + "negative-own.jsonl", Note: "A process joins the namespaces that it is in already.", Keep: noReads,
			Play: play(box{flags: privileged, args: []string{"/usr/local/bin/attack", "setns", "/proc/self/ns/uts", "/proc/self/ns/net"}}, `"result":"ok"`),
		},
		{
			File: namespace + "negative-unshare.jsonl", Note: "A process makes namespaces of its own.", Keep: noReads,
			Play: play(box{flags: privileged, args: []string{"/usr/bin/unshare", "--uts", "--ipc", "--net", "echo", "ran"}}, "ran"),
		},
		{
			File: namespace + "negative-node-agent.jsonl", Note: "A node agent on the host's network visits another namespace and comes home.", Keep: noReads,
			Play: play(box{flags: append([]string{"--net-host"}, privileged...), args: sh(
				`unshare --net sleep 30 & while [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/1/ns/net)" ]; do :; done; ` +
					`attack setns /proc/$!/ns/net /proc/1/ns/net; kill $!`)}, `"result":"ok"`),
		},
		{
			File: socket + "positive-curl-docker.jsonl", Note: "curl asks Docker's API through a socket that is mounted into the container.", Keep: noReads,
			Play: withSocket("docker.sock", "curl -s -m 5 --unix-socket /run/host/docker.sock http://localhost/containers/json; echo ran"),
		},
		{
			File: socket + "positive-containerd.jsonl", Note: "A program connects to containerd's socket, mounted into the container.", Keep: noReads,
			Play: withSocket("containerd.sock", "attack connect-unix /run/host/containerd.sock; echo ran"),
		},
		{
			File: socket + "negative-absent.jsonl", Note: "A monitoring agent looks for Docker's socket, which is not there.", Keep: noReads,
			Play: play(box{args: sh("attack connect-unix /run/docker.sock; echo ran")}, "ran"),
		},
		{
			File: socket + "negative-database.jsonl", Note: "A program connects to a database's socket.", Unfiltered: true, Keep: noReads,
			Play: withSocket(".s.PGSQL.5432", "attack connect-unix /run/host/.s.PGSQL.5432; echo ran"),
		},
	}
}

// withSocket runs a script in a container into which a socket of the host is
// mounted. Whoever connects is hung up on.
func withSocket(name, script string) func(context.Context, *Set) error {
	return func(ctx context.Context, s *Set) (err error) {
		dir := filepath.Join(workDir, "sockets")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make a folder for the socket: %w", err)
		}
		listener, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("listen on a unix socket: %w", err)
		}
		done := make(chan struct{})
		defer func() {
			err = errors.Join(err, listener.Close())
			<-done
		}()
		// Ends when the listener is closed.
		go func() {
			defer close(done)
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		return play(box{mounts: []string{"type=bind,src=" + dir + ",dst=/run/host,options=rbind:ro"}, args: sh(script)}, "ran")(ctx, s)
	}
}
