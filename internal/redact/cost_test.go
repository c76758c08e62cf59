package redact

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// ordinary is an event of which nothing is a secret.
func ordinary() *sensorv1.Record {
	shell := &sensorv1.Process{
		Name: "sh", Program: "sh", Comm: "sh", Cwd: "/var/www/html", Filename: "/bin/sh",
		Args: []string{"sh", "-c", "cd /srv/app && exec ./server --listen=0.0.0.0:8080 --config /etc/app/config.yaml 2>&1 | tee -a /var/log/app.log"},
		Exe:  &sensorv1.File{Path: "/usr/bin/dash", Name: "dash"},
	}
	return &sensorv1.Record{Body: &sensorv1.Record_Event{Event: &sensorv1.Event{
		Process: &sensorv1.Process{
			Name: "curl", Program: "curl", Comm: "curl", Cwd: "/tmp", Filename: "/usr/bin/curl",
			Args: []string{"curl", "-fsSL", "--retry", "3", "-H", "Accept: application/json", "https://packages.example.com/v1/list?page=2&size=100", "-o", "/tmp/list.json"},
			Exe:  &sensorv1.File{Path: "/usr/bin/curl", Name: "curl", Origin: &sensorv1.FileOrigin{ProcessName: "dpkg", ProcessPath: "/usr/bin/dpkg", ProcessProgram: "dpkg"}},
		},
		Container: &sensorv1.Container{
			Name: "web", Image: "registry.example.com/shop/web:1.2.3", CgroupPath: "/kubepods.slice/kubepods-besteffort.slice/cri-containerd-0a1b2c3d4e5f.scope",
			Labels: map[string]string{"app": "web", "app.kubernetes.io/version": "1.2.3"},
		},
		Session: &sensorv1.Session{Args: []string{"bash", "-l"}},
		Payload: &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{Before: shell}},
	}}}
}

// guarded is an ordinary event with one secret.
func guarded() *sensorv1.Record {
	m := ordinary()
	m.GetEvent().GetProcess().Args[5] = "Authorization: Bearer 0123456789abcdefghij"
	return m
}

func TestTextWithoutASecretCostsNoAllocation(t *testing.T) {
	r := redactor(t)
	m := ordinary()
	before := proto.CloneOf(m)
	if n := testing.AllocsPerRun(100, func() { r.Record(m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !proto.Equal(before, m) {
		t.Error("it was changed")
	}
	for _, args := range lookAlikes {
		if n := testing.AllocsPerRun(10, func() { r.Args(args) }); n != 0 {
			t.Errorf("%q: %v allocations", args, n)
		}
	}
}

// hostile is text that makes a careless reader go over it again and again.
var hostile = []string{
	"a", " ", "=", ":", "://", "://a:b/", "://a:b@", "@", "?", "&a=", ",a=", "'", "\"", "`", "\\", "\\\"", "'\"", "\"'", "' \" ", "$", "${", "${A:-",
	"password=", "password='", "password=\"\\", "password: ", "key=/", "key=/a/", "token=$", "sig=", "sig=a", "auth=", "Authorization: ", "Authorization: a ", "Cookie: ", "Cookie: a;",
	"eyJ", "eyJ-", "eyJ.", "eyJaaaaaaaa.a.", "AKIA", "AIza-", "sv=20&", "sv=20", "LS0tLS1CRUdJTi/", "-----BEGIN ", "-----BEGIN PRIVATE KEY", "-----END", "PuTTY-User-Key-File-", "Bearer ", "Basic ", "xoxe-", "K10:", "glpat-", "$6$", "abcdef.", "1",
	"--password ", "--password x ", "-p ", "mysql -p", "mysql -px ", "curl -u ", "sudo ", "env A=", "docker exec mysql ", "vault login ", "echo x|passwd ", "echo ", "| chpasswd ", "redis-cli auth ",
	"' '", "\" \\\" ", "(", "{ ", "[redacted:", "[redacted:0123456789abcdef]", "AKIAIOSFODNN7EXAMPLE ", "PASSWORD '", "by '", "identified by '", "\n", "\xff", "é", "a.b.c-", "_", "-", "auth(", "auth('a", "setenv('password',", "<password>", ">", "<<<", "sudo -S <<<", "key=", "&key=",
}

// work is what redaction of a detection looks at, in bytes, with argv of that size.
func work(r *Redactor, piece string, size int, split bool) (looked, given int) {
	text := strings.Repeat(piece, size/len(piece))
	args := []string{"sh", "-c", text}
	if split {
		args = append([]string{"mysql"}, strings.Fields(text)...)
	}
	joined := strings.Join(args, " ")
	d := &sensorv1.Detection{Event: &sensorv1.Event{Process: &sensorv1.Process{Args: args}}, Summary: joined, Evidence: map[string]string{"command": joined}}
	for _, a := range args {
		given += len(a)
	}
	given += 2 * len(joined)
	w := walk{redactor: r}
	w.detection(d)
	return w.work, given
}

func TestWorkIsLinear(t *testing.T) {
	r := redactor(t)
	for _, piece := range hostile {
		for _, split := range []bool{false, true} {
			small, _ := work(r, piece, 2<<10, split)
			large, given := work(r, piece, 16<<10, split)
			// Eight times the text: eight times the work, and some for rounding.
			if large > 10*small+1000 {
				t.Errorf("%q (split %v): %d bytes looked at for 2 KiB, %d for 16 KiB", piece, split, small, large)
			}
			if large > 40*given+1000 {
				t.Errorf("%q (split %v): %d bytes looked at of %d", piece, split, large, given)
			}
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r := redactor(b)
	for _, bench := range []struct {
		name string
		make func() *sensorv1.Record
	}{{"none", ordinary}, {"one", guarded}} {
		b.Run(bench.name, func(b *testing.B) {
			m := bench.make()
			args := m.GetEvent().GetProcess().Args
			header := args[5]
			b.ReportAllocs()
			for b.Loop() {
				args[5] = header
				r.Record(m)
			}
		})
	}
}

func BenchmarkHostile(b *testing.B) {
	r := redactor(b)
	for _, piece := range []string{"a", "password=", "mysql -px ", "eyJ-", "' '"} {
		text := strings.Repeat(piece, 8<<10/len(piece))
		b.Run(strings.TrimSpace(piece), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r.Args([]string{"sh", "-c", text})
			}
		})
	}
}
