package builtin_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
)

const boot = "6f2d1c3a-0000-4000-8000-000000000001"

const (
	magicOverlay = 0x794c7630
	magicProc    = 0x9fa0
	magicCgroup  = 0x27e0eb
)

func load(t *testing.T) *rule.Set {
	t.Helper()
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	report := rule.Lint(sources, now)
	if len(report.Errors)+len(report.Warnings) > 0 {
		t.Fatalf("built-in rules have problems:\n%v\n%v", report.Errors, report.Warnings)
	}
	set, err := rule.Load(sources, now)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// program is a process that runs /usr/bin/name of its image.
func program(name string, args ...string) *event.Process {
	return &event.Process{
		Name: name, Comm: name, Args: append([]string{name}, args...), Filename: "/usr/bin/" + name,
		Exe:        event.File{Path: "/usr/bin/" + name, Magic: magicOverlay, Overlay: true},
		Namespaces: event.Namespaces{Mount: 10, PID: 11, Net: 12, User: 13, UTS: 14, IPC: 15, Cgroup: 16},
	}
}

// below puts p under others, nearest first.
func below(p *event.Process, ancestors ...*event.Process) *event.Process {
	at := p
	for _, a := range ancestors {
		at.Parent = a
		at = a
	}
	return p
}

func change(p *event.Process, change func(*event.Process)) *event.Process {
	change(p)
	return p
}

// scene is an event in a container, if not told otherwise.
type scene struct {
	process *event.Process
	payload event.Payload
	kind    event.Kind
	tree    event.Tree
	session *event.Session
	onHost  bool
	result  int64
}

func (s scene) event() *event.Event {
	e := &event.Event{Payload: s.payload, Process: s.process, Session: s.session}
	e.Header = event.Header{Kind: s.kind, Time: event.Boot(time.Hour), Wall: time.Unix(1_790_000_000, 0), Tree: s.tree, Actor: event.Key{TGID: 9, Start: 9}}
	if s.result != 0 {
		e.Result, e.Flags = s.result, event.HasResult
	}
	switch s.payload.(type) {
	case nil, *event.Exec:
		e.Kind = event.KindProcessExec
		if s.payload == nil {
			e.Payload = &event.Exec{}
		}
	case *event.Open:
		e.Kind = event.KindFileOpen
	case *event.Rename:
		e.Kind = event.KindFileRename
	case *event.Namespace:
		e.Kind = event.KindProcessNamespace
	case *event.Flow:
		e.Kind = event.KindNetworkConnect
	}
	if !s.onHost {
		e.Container = &event.Container{ID: "c1", Name: "web", Image: "docker.io/library/web:1"}
	}
	return e
}

func write(path string, magic uint32) *event.Open {
	return &event.Open{Write: true, File: event.File{Path: path, Magic: magic}}
}

func failed(open *event.Open) *event.Open { open.Failed = true; return open }

func read(path string) *event.Open {
	return &event.Open{Read: true, File: event.File{Path: path, Magic: magicOverlay}}
}

func address(text string) event.Address {
	at := netip.MustParseAddrPort(text)
	family := event.FamilyIPv4
	if at.Addr().Is6() {
		family = event.FamilyIPv6
	}
	return event.Address{Family: family, IP: at.Addr(), Port: at.Port()}
}

func wired(local, remote string) func(*event.Process) {
	return func(p *event.Process) {
		p.Stdio[0] = event.Stdio{Kind: event.StdioSocket, Local: address(local), Remote: address(remote)}
	}
}

func writtenBy(name string, ago time.Duration) func(*event.Process) {
	return func(p *event.Process) {
		p.Exe.Origin = &event.Origin{Process: program(name), Time: event.Boot(time.Hour - ago)}
	}
}

// nobodys are a program and its file of somebody who is not root, in the host's user namespace.
func nobodys(p *event.Process) {
	p.Credentials = event.Credentials{UID: 65534, EUID: 65534}
	p.Exe.UID, p.Namespaces.User = 65534, 4026531837
}

func upper(p *event.Process) { p.Exe.OverlayUpper = true }

func at(tty string) func(*event.Process) { return func(p *event.Process) { p.TTY = tty } }

func unix(path string) *event.Flow {
	return &event.Flow{Remote: event.Address{Family: event.FamilyUnix}, Type: 1, Path: path}
}

func unpacked(region event.Region) *event.Memory {
	return &event.Memory{Length: 4096, Before: event.ProtRead | event.ProtWrite, After: event.ProtRead | event.ProtExec, Region: region}
}

// twoSteps is the second of them: memory was made read-only before it is made executable.
func twoSteps(region event.Region) *event.Memory {
	return &event.Memory{Length: 4096, Before: event.ProtRead, After: event.ProtRead | event.ProtExec, Region: region}
}

// closures is how libffi asks for memory.
func closures(bytes uint64) *event.Memory {
	const privateAnonymous = 0x22
	m := writable()
	m.Length, m.MapFlags = bytes, privateAnonymous
	return m
}

func writable() *event.Memory {
	return &event.Memory{Length: 4096, After: event.ProtRead | event.ProtWrite | event.ProtExec, Region: event.RegionAnonymous}
}

// runtimeCopy is a runtime's sealed copy of itself, still on the host's file system.
func runtimeCopy(p *event.Process) {
	p.Exe = event.File{Path: "/memfd:runc_cloned:/proc/self/exe", Memfd: true, Deleted: true}
	p.HostMount = true
}

func host(p *event.Process) { p.HostMount = true }

func inMountNamespace(inode uint32) func(*event.Process) {
	return func(p *event.Process) { p.Namespaces.Mount = inode }
}

// onVolume puts the program into a file that is on no overlay.
func onVolume(path string) func(*event.Process) {
	return func(p *event.Process) { p.Exe.Path, p.Exe.Overlay = path, false }
}

// called is the name by which a program or script was called, and its arguments.
func called(filename string, args ...string) func(*event.Process) {
	return func(p *event.Process) { p.Filename, p.Args = filename, args }
}

type outcome struct {
	name  string
	scene scene
	// fires are the rules that match, and no others.
	fires []string
}

func TestRules(t *testing.T) {
	set := load(t)
	fired := make(map[string]bool)
	for _, group := range [][]outcome{executions(), files(), kernel(), memory()} {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) {
				e := test.scene.event()
				var got []string
				set.NewMatcher(nil).Match(e, func(r *rule.Rule) {
					got = append(got, r.ID)
					fired[r.ID] = true
					d := r.Detection(e, boot)
					if d.Summary == "" || d.Summary == r.Title {
						t.Errorf("rule %s has no summary of its own: %q", r.ID, d.Summary)
					}
					for name, text := range d.Evidence {
						if strings.HasPrefix(text, "not available") {
							t.Errorf("rule %s, evidence %s: %s", r.ID, name, text)
						}
					}
				})
				slices.Sort(got)
				slices.Sort(test.fires)
				if !slices.Equal(got, test.fires) {
					t.Errorf("fires %v, want %v", got, test.fires)
				}
				if interest := set.Interest(); len(got) > 0 && !interest.Admits(e) {
					t.Error("the kernel would not send this event")
				}
			})
		}
	}
	for _, r := range set.Rules() {
		if !fired[r.ID] {
			t.Errorf("no scene makes rule %s fire", r.ID)
		}
	}
}

func executions() []outcome {
	nginx, fpm := program("nginx"), program("php-fpm8.2")
	entered := &event.Session{ID: "s1", Args: []string{"bash"}, TTY: "pts/1"}
	initial := &event.Session{ID: "s0", Args: []string{"bash"}, TTY: "pts/0", Init: true}
	return []outcome{
		{"PHP runs a command", scene{process: below(program("dash", "-c", "id"), fpm)}, []string{"web-server-spawned-shell"}},
		{"PHP runs a command on Alpine", scene{process: change(below(program("busybox"), program("php-fpm83")), func(p *event.Process) {
			p.Args, p.Filename = []string{"sh", "-c", "id"}, "/bin/sh"
		})}, []string{"web-server-spawned-shell"}},
		{"Tomcat runs a command", scene{process: below(program("bash", "-c", "id"), program("java", "-cp", "x.jar", "org.apache.catalina.startup.Bootstrap"))}, []string{"web-server-spawned-shell"}},
		{"a Spring application runs a command", scene{process: below(program("bash", "-c", "id"), program("java", "-jar", "/app.jar"))}, []string{"web-server-spawned-shell"}},
		{"a Java tool on the host runs a command", scene{process: below(program("bash", "-c", "id"), program("java", "-jar", "/opt/tool.jar")), onHost: true}, nil},
		{"gunicorn runs a command", scene{process: below(program("dash", "-c", "id"), change(program("python3.11"), called("/usr/local/bin/gunicorn", "python3", "/usr/local/bin/gunicorn", "app:app")))}, []string{"web-server-spawned-shell"}},
		{"puma, which bundle runs, runs a command", scene{process: below(program("dash", "-c", "id"), change(program("ruby3.1"), called("/usr/bin/bundle", "ruby", "/usr/bin/bundle", "exec", "puma")))}, []string{"web-server-spawned-shell"}},
		{"a Python program runs a command", scene{process: below(program("dash", "-c", "id"), program("python3.11", "app.py"))}, nil},
		{"a command called through the folder of CGI scripts", scene{process: change(below(program("dash"), program("apache2")), called("/usr/lib/cgi-bin/../../../bin/sh", "sh"))}, []string{"web-server-spawned-shell"}},
		{"PHP sends mail", scene{process: below(program("dash", "-c", "/usr/sbin/sendmail -t -i -fshop@store.example"), fpm)}, nil},
		{"PHP sends mail and more", scene{process: below(program("dash", "-c", "/usr/sbin/sendmail -t -i -X/var/www/html/x.php"), fpm)}, []string{"web-server-spawned-shell"}},
		{"PHP sends mail from an address with a tag", scene{process: below(program("dash", "-c", "/usr/sbin/sendmail -t -i -fshop+bounces@store.example"), fpm)}, nil},
		{"PHP runs a C shell", scene{process: below(program("bsd-csh", "-c", "id"), fpm)}, []string{"web-server-spawned-shell"}},
		{"PHP runs busybox by way of busybox", scene{process: change(below(program("busybox"), fpm), called("/bin/busybox", "busybox-x", "busybox", "sh", "-c", "id"))}, []string{"web-server-spawned-shell"}},
		{"PHP runs what it put into a folder called cgi-bin", scene{process: change(below(program("dash"), fpm), called("/var/www/html/cgi-bin/a.sh", "sh", "/var/www/html/cgi-bin/a.sh"))}, []string{"web-server-spawned-shell"}},
		{"a web server runs a script in a temporary cgi-bin", scene{process: change(below(program("dash"), program("apache2")), called("/tmp/cgi-bin/a.sh", "sh", "/tmp/cgi-bin/a.sh"))}, []string{"web-server-spawned-shell"}},
		{"a shell in the tree of a web server that is gone", scene{process: program("bash", "x"), tree: event.TreeWeb}, []string{"web-server-spawned-shell"}},
		{"a build server runs a shell", scene{process: below(program("bash", "-c", "make"), program("java", "-jar", "jenkins.war"))}, nil},
		{"a web server starts another program", scene{process: below(program("convert", "a.png"), fpm)}, nil},
		{"a script starts the web server", scene{process: below(program("apache2"), program("dash", "/usr/sbin/apachectl"))}, nil},
		{"log rotation", scene{process: below(program("dash", "-c", "/usr/bin/rotatelogs /var/log/apache2/a.%Y 86400"), program("apache2"))}, nil},
		{"log rotation that does more", scene{process: below(program("dash", "-c", "/usr/bin/rotatelogs x; id"), program("apache2"))}, []string{"web-server-spawned-shell"}},
		{"CGI script", scene{process: change(below(program("dash", "/usr/lib/cgi-bin/a.cgi"), program("apache2")), func(p *event.Process) {
			p.Filename = "/usr/lib/cgi-bin/a.cgi"
		})}, nil},

		{"kubectl exec -it", scene{process: change(program("bash"), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec -it without a profile", scene{process: change(program("bash", "--norc", "-p"), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec -it with another profile", scene{process: change(program("bash", "--rcfile", "/tmp/rc"), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec -it of a login shell", scene{process: change(change(program("bash"), called("/bin/bash", "-bash")), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec -i of a shell", scene{process: program("bash"), session: entered, payload: &event.Exec{Entered: true}}, []string{"shell-interactive-in-container"}},
		{"kubectl exec of a script", scene{process: change(program("bash", "-l", "/srv/backup.sh"), at("pts/1")), session: entered}, nil},
		{"kubectl exec of a command with options", scene{process: change(program("bash", "-lc", "ls", "-l", "-i"), at("pts/1")), session: entered}, nil},
		{"kubectl exec of a command with arguments", scene{process: change(program("bash", "-c", "ls \"$@\"", "ls", "-a"), at("pts/1")), session: entered}, nil},
		{"kubectl exec -it of a shell with an option", scene{process: change(program("bash", "-O", "extglob"), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec of a script with an option", scene{process: change(program("bash", "-o", "pipefail", "/srv/backup.sh"), at("pts/1")), session: entered}, nil},
		{"kubectl exec -it of a shell whose script is the terminal", scene{process: change(program("bash", "/dev/tty"), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec -it of a shell that seems to have a command", scene{process: change(program("bash", "-is", "--", "-c"), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"kubectl exec -it of busybox by another name", scene{process: change(change(program("busybox"), called("/bin/busybox", "busybox-x", "busybox", "sh")), at("pts/1")), session: entered}, []string{"shell-interactive-in-container"}},
		{"a script's own shell, fed through a pipe", scene{process: program("bash"), session: &event.Session{Init: true}}, nil},
		{"terminal made by an intruder", scene{process: change(program("bash", "-i"), at("pts/3")), session: &event.Session{Init: true}}, []string{"shell-interactive-in-container"}},
		{"container started with a terminal", scene{process: change(program("bash"), at("pts/0")), session: initial}, nil},
		{"kubectl exec of a command", scene{process: change(program("bash", "-c", "date"), at("pts/1")), session: entered}, nil},
		{"script of an entry point", scene{process: program("bash", "/entrypoint.sh"), session: &event.Session{Init: true}}, nil},
		{"administrator on the host", scene{process: change(program("bash"), at("pts/1")), onHost: true}, nil},

		{"bash -i to another host", scene{process: change(program("bash", "x"), wired("10.0.0.5:41234", "203.0.113.9:4444"))}, []string{"reverse-shell-stdio-socket"}},
		{"Python to another host, IPv6", scene{process: change(program("python3.11", "x"), wired("[2001:db8::5]:60001", "[2001:db8::9]:61000")), onHost: true}, []string{"reverse-shell-stdio-socket"}},
		{"inetd hands over a connection", scene{process: change(program("bash", "x"), wired("10.0.0.5:2323", "203.0.113.9:50123"))}, nil},
		{"FastCGI over loopback", scene{process: change(program("php8.2"), wired("127.0.0.1:40000", "127.0.0.1:9000"))}, nil},
		{"git over a socket", scene{process: change(program("git-daemon"), wired("10.0.0.5:41234", "203.0.113.9:9418"))}, nil},

		{"fetched and run", scene{process: change(program("kdevtmpfsi"), writtenBy("curl", time.Minute)), onHost: true}, []string{"download-then-execute"}},
		{"fetched by busybox and run", scene{process: change(program("kdevtmpfsi"), func(p *event.Process) {
			writtenBy("busybox", time.Minute)(p)
			p.Exe.Origin.Process.Args = []string{"wget"}
		}), onHost: true}, []string{"download-then-execute"}},
		{"fetched yesterday", scene{process: change(program("kubectl"), writtenBy("curl", time.Hour-1)), onHost: true}, nil},
		{"fetched by netcat and run", scene{process: change(program("kdevtmpfsi"), writtenBy("nc.openbsd", time.Minute)), onHost: true}, []string{"download-then-execute"}},
		{"compiled and run", scene{process: change(program("a.out"), writtenBy("ld", time.Second)), onHost: true}, nil},
		{"fetched and run by a package manager", scene{process: below(change(program("setup"), writtenBy("curl", time.Minute)), program("dash"), program("dpkg")), onHost: true}, nil},

		{"program dropped into the container", scene{process: change(program("xmrig"), upper)}, []string{"drift-new-binary-executed"}},
		{"program fetched into the container", scene{process: change(change(program("xmrig"), upper), writtenBy("wget", time.Minute))}, []string{"drift-new-binary-executed", "download-then-execute"}},
		{"a dropped program that calls itself dpkg", scene{process: below(change(program("xmrig"), upper), change(program("dpkg"), upper))}, []string{"drift-new-binary-executed"}},
		{"written by a dropped program that calls itself dpkg", scene{process: change(change(program("xmrig"), upper), func(p *event.Process) {
			writtenBy("dpkg", time.Minute)(p)
			upper(p.Exe.Origin.Process)
		})}, []string{"drift-new-binary-executed"}},
		{"below a program on a volume that calls itself apt", scene{process: below(change(program("xmrig"), upper), change(program("apt"), onVolume("/data/apt")))}, []string{"drift-new-binary-executed"}},
		{"program of the image", scene{process: program("nginx")}, nil},
		{"program that apt installed", scene{process: change(change(program("vim.basic"), upper), writtenBy("dpkg", time.Minute))}, nil},
		{"program that somebody unpacked with dpkg", scene{process: change(change(change(program("xmrig"), upper), writtenBy("dpkg", time.Minute)), nobodys)}, []string{"drift-new-binary-executed"}},
		{"program that apt installed in a pod with users of its own", scene{process: change(change(program("vim.basic"), upper), func(p *event.Process) {
			writtenBy("dpkg", time.Minute)(p)
			p.Exe.UID = 100000
		})}, nil},
		{"a program that apt runs for somebody", scene{process: below(change(program("xmrig"), upper), program("dash"), change(program("apt-get"), nobodys))}, []string{"drift-new-binary-executed"}},
		{"maintainer script's program", scene{process: below(change(program("update-x"), upper), program("dash"), program("apt-get"))}, nil},
		{"dnf, which is a Python script", scene{process: below(change(program("update-x"), upper), change(program("python3.9"), func(p *event.Process) { p.Filename = "/usr/bin/dnf" }))}, nil},
		{"a shell script that calls itself dnf", scene{process: below(change(program("xmrig"), upper), change(program("dash"), func(p *event.Process) { p.Filename = "/usr/bin/dnf" }))}, []string{"drift-new-binary-executed"}},
		{"first program of a restarted container", scene{process: change(program("app"), upper), payload: &event.Exec{Entered: true, Init: true}}, nil},

		{"program without a file", scene{process: change(program("x"), func(p *event.Process) { p.Exe = event.File{Path: "/memfd:x", Memfd: true, Deleted: true} })}, []string{"exec-fileless-memfd"}},
		{"a container's program by the name of runc's copy", scene{process: below(change(program("x"), func(p *event.Process) {
			runtimeCopy(p)
			p.HostMount = false
		}), change(program("containerd-shim-runc-v2"), inMountNamespace(1)))}, []string{"exec-fileless-memfd"}},
		{"Docker in Docker starts a container", scene{process: below(change(program("runc", "init"), runtimeCopy), program("runc"), program("containerd-shim-runc-v2"))}, nil},
		{"k3s starts a container", scene{process: below(change(program("runc", "init"), runtimeCopy), change(program("runc"), onVolume("/var/lib/rancher/k3s/data/1f/bin/runc"))), onHost: true}, nil},
		{"a program that calls itself containerd", scene{process: below(change(program("x"), runtimeCopy), change(program("containerd"), onVolume("/tmp/containerd"))), onHost: true}, []string{"exec-fileless-memfd"}},
		{"runc starts a container", scene{process: below(change(program("runc", "init"), runtimeCopy), change(program("runc"), host), change(program("containerd-shim-runc-v2"), host)), onHost: true}, nil},
		{"program whose file is gone", scene{process: change(program("x"), func(p *event.Process) { p.Exe.Deleted = true }), onHost: true}, []string{"exec-deleted-binary"}},
		{"runc's nameless copy", scene{process: below(change(change(program("runc", "init"), host), func(p *event.Process) { p.Exe.Deleted = true }), change(program("containerd-shim-runc-v2"), host)), onHost: true}, nil},
		{"web server runs itself anew", scene{process: below(program("nginx"), nginx)}, nil},
	}
}

func files() []outcome {
	apache := program("apache2")
	return []outcome{
		{"upload of a script", scene{process: apache, payload: write("/var/www/html/uploads/a.php", magicOverlay)}, []string{"webshell-file-created-by-server"}},
		{"script renamed into place", scene{process: apache, payload: &event.Rename{File: event.File{Path: "/tmp/phpX1"}, NewPath: "/var/www/html/uploads/a.phtml"}}, []string{"webshell-file-created-by-server"}},
		{"a server's child writes a script", scene{process: below(program("dash"), program("php-fpm8.2")), payload: write("/srv/www/x.jsp", magicOverlay)}, []string{"webshell-file-created-by-server"}},
		{"a marked tree writes a script", scene{process: program("cp"), tree: event.TreeWeb, payload: write("/var/www/x.php", magicOverlay)}, []string{"webshell-file-created-by-server"}},
		{"upload of a picture", scene{process: apache, payload: write("/var/www/html/uploads/a.png", magicOverlay)}, nil},
		{"template cache", scene{process: apache, payload: write("/var/www/html/var/cache/twig/a.php", magicOverlay)}, nil},
		{"template cache of Drupal", scene{process: program("php-fpm8.2"), payload: write("/var/www/html/sites/default/files/php/twig/6d_page.html.twig_x/y.php", magicOverlay)}, nil},
		{"script elsewhere", scene{process: apache, payload: write("/tmp/a.php", magicOverlay)}, nil},
		{"deployment", scene{process: below(program("cp"), program("bash")), payload: write("/var/www/html/index.php", magicOverlay)}, nil},
		{"a server reads a script", scene{process: apache, payload: read("/var/www/html/index.php")}, nil},

		{"shadow read", scene{process: program("cat"), payload: read("/etc/shadow")}, []string{"sensitive-file-read"}},
		{"the host's shadow read", scene{process: program("cat"), payload: read("/host/etc/shadow")}, []string{"sensitive-file-read"}},
		{"sudo rules tried", scene{process: program("cat"), payload: failed(read("/etc/sudoers.d/ops"))}, []string{"sensitive-file-read"}},
		{"shadow read by a program that calls itself sudo", scene{process: change(program("sudo"), upper), payload: read("/etc/shadow")}, []string{"sensitive-file-read"}},
		{"shadow read by a program on a volume that calls itself sudo", scene{process: change(program("sudo"), onVolume("/data/sudo")), payload: read("/etc/shadow")}, []string{"sensitive-file-read"}},
		{"busybox checks a password", scene{process: change(program("busybox"), called("/bin/su", "su")), payload: read("/etc/shadow")}, nil},
		{"busybox shows a password", scene{process: change(program("busybox"), called("/bin/cat", "cat", "su")), payload: read("/etc/shadow")}, []string{"sensitive-file-read"}},
		{"a runtime reads an image's files", scene{process: change(program("containerd"), onVolume("/usr/bin/containerd")), payload: read("/var/lib/containerd/tmpmounts/1/etc/shadow"), onHost: true}, nil},
		{"sudo, which apt installed, checks a password", scene{process: change(change(program("sudo"), upper), writtenBy("dpkg", time.Hour)), payload: read("/etc/shadow")}, nil},
		{"sudo, which nobody installed, checks a password", scene{process: change(change(program("sudo"), upper), writtenBy("cp", time.Hour)), payload: read("/etc/shadow")}, []string{"sensitive-file-read"}},
		{"deluser, a Perl script", scene{process: change(program("perl"), called("/usr/sbin/deluser", "perl", "/usr/sbin/deluser", "kim")), payload: read("/etc/shadow")}, nil},
		{"another Perl script", scene{process: change(program("perl"), called("/tmp/deluser", "perl", "/tmp/deluser")), payload: read("/etc/shadow")}, []string{"sensitive-file-read"}},
		{"a user is made in a root that is being built", scene{process: change(program("useradd"), onVolume("/srv/root/usr/sbin/useradd")), payload: read("/srv/root/etc/shadow"), onHost: true}, nil},
		{"shadow read on the host", scene{process: change(program("cat"), onVolume("/usr/bin/cat")), payload: read("/etc/shadow"), onHost: true}, []string{"sensitive-file-read"}},

		{"token read below a web server", scene{process: below(program("cat"), program("dash"), program("php-fpm8.2")), payload: read("/run/secrets/kubernetes.io/serviceaccount/..2026_11_21/token")}, []string{"serviceaccount-token-read"}},
		{"token read by hand", scene{process: program("cat"), session: &event.Session{}, payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, []string{"serviceaccount-token-read"}},
		{"token read by a shell itself", scene{process: program("bash"), session: &event.Session{}, payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, []string{"serviceaccount-token-read"}},
		{"token sent off by hand", scene{process: program("curl"), session: &event.Session{}, payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, []string{"serviceaccount-token-read"}},
		{"token read by uWSGI's worker", scene{process: below(program("uwsgi"), program("uwsgi")), payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, nil},
		{"token read by PHP's worker", scene{process: below(program("php-fpm8.2"), program("php-fpm8.2")), payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, []string{"serviceaccount-token-read"}},
		{"token read by a program that was started by hand", scene{process: program("kubectl"), session: &event.Session{}, payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, nil},
		{"token read by the program it is meant for", scene{process: program("operator"), session: &event.Session{Init: true}, payload: read("/run/secrets/kubernetes.io/serviceaccount/token")}, nil},
		{"another token", scene{process: program("cat"), session: &event.Session{}, payload: read("/srv/token")}, nil},
		{"login", scene{process: program("sshd"), payload: read("/etc/shadow"), onHost: true}, nil},
		{"passwd read", scene{process: program("cat"), payload: read("/etc/passwd")}, nil},
		{"package manager checks a configuration file", scene{process: below(program("md5sum"), program("dpkg")), payload: read("/etc/sudoers"), onHost: true}, nil},
		{"another file of that name", scene{process: program("cat"), payload: read("/usr/share/man/shadow")}, nil},
	}
}

func kernel() []outcome {
	moved := func(kind string) *event.Namespace {
		own := program("x").Namespaces
		n := &event.Namespace{Before: own, After: own, Host: event.Namespaces{Mount: 1, PID: 2, Net: 3, User: 4, UTS: 5, IPC: 6, Cgroup: 7}}
		switch kind {
		case "mount":
			n.After.Mount = n.Host.Mount
		case "net":
			n.After.Net = n.Host.Net
		case "new":
			n.After.Net = 99
		}
		return n
	}
	home := moved("net")
	home.Before.Net = 99
	return []outcome{
		{"release_agent written", scene{process: program("sh"), payload: write("/sys/fs/cgroup/rdma/release_agent", magicCgroup)}, []string{"escape-release-agent"}},
		{"release_agent tried", scene{process: program("sh"), payload: failed(write("/tmp/cg/release_agent", 0))}, []string{"escape-release-agent"}},
		{"file called release_agent", scene{process: program("sh"), payload: write("/tmp/release_agent", magicOverlay)}, nil},
		{"systemd sets its release_agent", scene{process: program("systemd"), payload: write("/sys/fs/cgroup/systemd/release_agent", magicCgroup), onHost: true}, nil},
		{"core_pattern written", scene{process: program("sh"), payload: write("/proc/sys/kernel/core_pattern", magicProc)}, []string{"escape-core-pattern"}},
		{"core_pattern tried", scene{process: program("sh"), payload: failed(write("/proc/sys/kernel/core_pattern", 0))}, []string{"escape-core-pattern"}},
		{"core_pattern read", scene{process: program("sh"), payload: read("/proc/sys/kernel/core_pattern")}, nil},
		{"core_pattern set by the host", scene{process: program("sysctl"), payload: write("/proc/sys/kernel/core_pattern", magicProc), onHost: true}, nil},
		{"modprobe path written", scene{process: program("sh"), payload: write("/proc/sys/kernel/modprobe", magicProc)}, []string{"escape-modprobe-path"}},
		{"modprobe path tried", scene{process: program("sh"), payload: failed(write("/proc/sys/kernel/modprobe", 0))}, []string{"escape-modprobe-path"}},
		{"modprobe installed", scene{process: program("dpkg"), payload: write("/usr/sbin/modprobe", magicOverlay)}, nil},
		{"modprobe installed in vain", scene{process: program("dpkg"), payload: failed(write("/usr/sbin/modprobe", 0))}, nil},

		{"nsenter into the host", scene{process: program("nsenter"), payload: moved("mount")}, []string{"escape-container-process-in-host-ns"}},
		{"new namespace of its own", scene{process: program("unshare"), payload: moved("new")}, nil},
		{"network agent comes home", scene{process: change(program("calico-node"), func(p *event.Process) { p.Namespaces.Net = 3 }), payload: home}, nil},
		{"the runtime at work", scene{process: program("runc"), payload: moved("mount"), onHost: true}, nil},

		{"runtime socket", scene{process: program("curl"), payload: unix("/var/run/docker.sock")}, []string{"escape-docker-socket"}},
		{"runtime socket mounted elsewhere", scene{process: program("ctr"), payload: unix("/host/run/containerd/containerd.sock")}, []string{"escape-docker-socket"}},
		{"runtime socket that is not there", scene{process: program("agent"), payload: unix("/var/run/docker.sock"), result: -2}, nil},
		{"Docker in Docker", scene{process: program("dockerd"), payload: unix("/run/containerd/containerd.sock")}, nil},
		{"socket of a database", scene{process: program("psql"), payload: unix("/run/postgresql/.s.PGSQL.5432")}, nil},
		{"client on the host", scene{process: program("docker"), payload: unix("/var/run/docker.sock"), onHost: true}, nil},
	}
}

func memory() []outcome {
	protect, mapped := event.KindMemoryProtect, event.KindMemoryMap
	return []outcome{
		{"code unpacked", scene{process: program("app"), kind: protect, payload: unpacked(event.RegionAnonymous)}, []string{"mem-wx-transition"}},
		{"code unpacked by a dropped java", scene{process: change(program("java"), upper), kind: protect, payload: unpacked(event.RegionHeap)}, []string{"mem-wx-transition"}},
		{"code unpacked by a java on a volume", scene{process: change(program("java"), onVolume("/data/java")), kind: protect, payload: unpacked(event.RegionHeap)}, []string{"mem-wx-transition"}},
		{"JIT of the JVM", scene{process: program("java"), kind: protect, payload: unpacked(event.RegionAnonymous)}, nil},
		{"JIT of a Node.js that apt installed", scene{process: change(change(program("node"), upper), writtenBy("dpkg", time.Hour)), kind: protect, payload: unpacked(event.RegionAnonymous)}, nil},
		{"code unpacked in two steps", scene{process: program("app"), kind: protect, payload: twoSteps(event.RegionAnonymous)}, []string{"mem-wx-transition"}},
		{"a library's read-only pages become executable", scene{process: program("app"), kind: protect, payload: twoSteps(event.RegionFile)}, nil},
		{"callbacks into Python", scene{process: program("python3.11"), kind: mapped, payload: closures(4096)}, nil},
		{"more than callbacks into Python", scene{process: program("python3.11"), kind: mapped, payload: closures(8192)}, []string{"mem-rwx-mapping"}},
		{"callbacks into a dropped Python", scene{process: change(program("python3.11"), upper), kind: mapped, payload: closures(4096)}, []string{"mem-rwx-mapping"}},
		{"regular expressions of PHP", scene{process: program("php-fpm8.2"), kind: protect, payload: unpacked(event.RegionAnonymous)}, nil},
		{"library loaded", scene{process: program("app"), kind: mapped, payload: &event.Memory{After: event.ProtRead | event.ProtExec, Region: event.RegionFile}}, nil},
		{"memory mapped writable and executable", scene{process: program("app"), kind: mapped, payload: writable()}, []string{"mem-rwx-mapping"}},
		{"memory made writable and executable", scene{process: program("app"), kind: protect, payload: writable()}, []string{"mem-rwx-mapping"}},
		{"emulator", scene{process: program("qemu-system-x86_64"), kind: mapped, payload: writable(), onHost: true}, nil},
	}
}
