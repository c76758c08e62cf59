package whole

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const canaryRule = "whole-canary"

// canaryRules has all that a rule can say of a process in what it says.
const canaryRules = `rules:
  - id: ` + canaryRule + `
    title: Planted command
    description: A command with a secret.
    severity: high
    kinds: [process_exec]
    condition: process.exe.path.contains("/canaries/")
    summary: process.cwd.base() + " ran " + process.args.join(" ")
    evidence:
      command: process.args.join(" ")
      parents: ancestors.map(a, a.args.join(" ")).join(" < ")
`

// canary is a command with one secret; {} is its place. {mark} is where its mark stands, if
// not at the end. The words of shell commands are
// those of a real shell that runs it, {app} what it runs.
type canary struct {
	secret func(*rand.Rand) string
	args   []string
}

var canaries = []canary{
	{password, []string{"curl", "-u", "kim:{}", "https://example.com/"}},
	{password, []string{"curl", "--proxy-user", "kim:{}", "https://example.com/"}},
	{apiKey, []string{"curl", "-H", "X-Api-Key: {}", "https://example.com/"}},
	{jwt, []string{"curl", "-sS", "-H", "Authorization: Bearer {}", "https://10.0.0.1:6443/api"}},
	{password, []string{"curl", "https://kim:{}@example.com/a"}},
	{password, []string{"curl", "https://example.com/x?user=kim&access_token={}&page=2"}},
	{password, []string{"curl", "-d", `{"user":"kim","password":"{}"}`, "https://example.com/login"}},
	{apiKey, []string{"curl", "-b", "session={}; theme=dark", "https://example.com/"}},
	{hexKey, []string{"curl", "https://b.s3.amazonaws.com/k?X-Amz-Expires=60&X-Amz-Signature={}"}},
	{password, []string{"wget", "--http-user=kim", "--http-password={}", "http://example.com/"}},
	{password, []string{"mysql", "-uroot", "-p{}", "shop"}},
	{password, []string{"mysqldump", "--password={}", "shop"}},
	{password, []string{"mysql", "-e", "ALTER USER 'kim' IDENTIFIED BY '{}'"}},
	{password, []string{"psql", "postgresql://kim:{}@db:5432/shop?sslmode=require"}},
	{password, []string{"psql", "host=db user=kim password={} dbname=shop"}},
	{password, []string{"mongosh", "mongodb+srv://kim:{}@cluster0.example.net/shop"}},
	{password, []string{"redis-cli", "-h", "cache", "-a", "{}", "ping"}},
	{password, []string{"sqlcmd", "-S", "db", "-U", "sa", "-P", "{}"}},
	{password, []string{"sshpass", "-p", "{}", "ssh", "kim@host"}},
	{password, []string{"docker", "login", "-u", "kim", "-p", "{}", "registry.example.com"}},
	{password, []string{"docker", "run", "-e", "MYSQL_ROOT_PASSWORD={}", "mysql:8"}},
	{jwt, []string{"kubectl", "--token={}", "get", "pods"}},
	{password, []string{"kubectl", "create", "secret", "generic", "db", "--from-literal=password={}"}},
	{github, []string{"git", "clone", "https://{}@github.com/a/b.git"}},
	{basic, []string{"git", "-c", "http.extraheader=Authorization: Basic {}", "fetch"}},
	{awsSecret, []string{"aws", "configure", "set", "aws_secret_access_key", "{}"}},
	{awsSecret, []string{"env", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY={}", "aws", "s3", "ls"}},
	{alibabaSecret, []string{"aliyun", "configure", "set", "--access-key-id", "LTAI5tAbCdEfGhIjKlMnOpQr", "--access-key-secret", "{}"}},
	{alibabaSecret, []string{"ossutil", "config", "-i", "LTAI5tAbCdEfGhIjKlMnOpQr", "-k", "{}"}},
	{password, []string{"az", "login", "--service-principal", "-u", "app", "-p", "{}", "--tenant", "t"}},
	{apiKey, []string{"vault", "login", "-field={mark}", "token={}"}},
	{password, []string{"ldapsearch", "-x", "-D", "cn=admin", "-w", "{}"}},
	{password, []string{"smbclient", "//files/share", "-U", "kim%{}"}},
	{password, []string{"openssl", "enc", "-aes-256-cbc", "-pass", "pass:{}", "-in", "a"}},
	{password, []string{"gpg", "--batch", "--passphrase", "{}", "-c", "loot.tar"}},
	{password, []string{"7z", "x", "-p{}", "loot.7z"}},
	{password, []string{"app", "--db-password", "{}", "start"}},
	{apiKey, []string{"app", "--api-key={}", "start"}},
	{password, []string{"app", "Server=db;Database=shop;User Id=sa;Password={};"}},
	{password, []string{"app", "jdbc:mysql://db/shop?user=kim&password={}"}},
	{password, []string{"app", "amqp://kim:{}@mq/"}},
	{password, []string{"app", `{"database":{"host":"db","password":"{}"}}`}},
	{pemKey, []string{"app", "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"}},
	{jwt, []string{"app", "{}"}},
	{github, []string{"app", "{}"}},
	{slackToken, []string{"app", "--notify", "{}"}},
	{password, []string{"python3", "-c", `connect(host="db", password="{}")`}},
	{password, []string{"env", "DB_PASSWORD={}", "app", "start"}},
	// Of a real shell: the secret is in its argv, and not in that of what it runs.
	{password, []string{"/bin/sh", "-c", "PGPASSWORD={} {app} -h db; :"}},
	{password, []string{"/bin/sh", "-c", "echo {} | {app} --password-stdin; : mysql -uroot -p{}"}},
	{password, []string{"/bin/sh", "-c", "export DB_PASSWORD='{}'; {app} start; :"}},
	{password, []string{"/bin/sh", "-c", "{app} start; : curl -u kim:{} https://example.com/"}},
	// In the name of the folder that it runs in.
	{github, []string{"{folder}app", "start"}},
}

const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func pick(r *rand.Rand, from string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}

func password(r *rand.Rand) string { return "Q" + pick(r, alphabet+"._~!", 18) + "7" }
func apiKey(r *rand.Rand) string   { return pick(r, alphabet, 40) }
func hexKey(r *rand.Rand) string   { return hex.EncodeToString([]byte(pick(r, alphabet, 32))) }
func github(r *rand.Rand) string   { return "ghp_" + pick(r, alphabet, 36) }
func slackToken(r *rand.Rand) string {
	return "xoxb-" + pick(r, "0123456789", 12) + "-" + pick(r, alphabet, 24)
}
func awsSecret(r *rand.Rand) string     { return "wJ4" + pick(r, alphabet+"+/", 37) }
func alibabaSecret(r *rand.Rand) string { return "wJ4" + pick(r, alphabet, 27) }
func basic(r *rand.Rand) string {
	return base64.StdEncoding.EncodeToString([]byte("kim:" + password(r)))
}
func pemKey(r *rand.Rand) string {
	return pick(r, alphabet+"+/", 64) + "\n" + pick(r, alphabet+"+/", 64) + "\n" + pick(r, alphabet, 30) + "=="
}
func jwt(r *rand.Rand) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"kid":"`+pick(r, alphabet, 40)+`","alg":"RS256"}`) + "." + part(`{"sub":"`+pick(r, alphabet, 60)+`"}`) + "." + pick(r, alphabet+"-_", 86)
}

// planting is the canaries with their secrets, and the marks that are no secrets.
type planting struct {
	secrets, marks []string
}

// plant runs each command in a folder of its own, named by a mark that it has among its
// arguments, too.
func (w *world) plant(r *rand.Rand, round int) planting {
	w.Helper()
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		w.Fatal(err)
	}
	var p planting
	hidden := password(r) // nobody looks into environments
	p.secrets = append(p.secrets, hidden)
	for i, c := range canaries {
		secret, mark := c.secret(r), fmt.Sprintf("%s%d-%02d-%s", markPrefix, round, i, pick(r, alphabet, 16))
		p.secrets, p.marks = append(p.secrets, secret), append(p.marks, mark)
		cwd := w.path("canaries", mark)
		folder := cwd
		if strings.HasPrefix(c.args[0], "{folder}") {
			folder = filepath.Join(cwd, secret)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			w.Fatal(err)
		}
		app := filepath.Join(folder, "app")
		args := make([]string, len(c.args))
		for n, a := range c.args {
			args[n] = strings.NewReplacer("{}", secret, "{app}", app+" "+mark, "{folder}", "", "{mark}", mark).Replace(a)
		}
		path := args[0]
		if path != "/bin/sh" {
			path = filepath.Join(folder, args[0])
			app = path
			if !strings.Contains(strings.Join(args, " "), mark) {
				args = append(args, mark)
			}
		}
		if err := os.WriteFile(app, program, 0o700); err != nil {
			w.Fatal(err)
		}
		command := exec.CommandContext(w.Context(), path)
		command.Args, command.Dir, command.Env = args, cwd, []string{"PATH=/usr/bin:/bin", "DB_PASSWORD=" + hidden}
		command.Stdin = strings.NewReader("")
		if out, err := command.CombinedOutput(); err != nil {
			w.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	return p
}

// TestNoCanaryIsLeft: no part of a secret is anywhere that the product writes or sends to,
// though all of that speaks of the commands that had them.
func TestNoCanaryIsLeft(t *testing.T) {
	if len(canaries) < 50 {
		t.Fatalf("only %d canaries", len(canaries))
	}
	chosen := *seed
	if chosen == 0 {
		chosen = rand.Uint64()
	}
	t.Logf("seed %d", chosen)
	random := rand.New(rand.NewPCG(chosen, 0))

	folder := t.TempDir()
	syslog := filepath.Join(folder, "syslog.txt")
	archives := map[string]string{"ocsf": filepath.Join(folder, "ocsf.json"), "text": filepath.Join(folder, "text.txt")}
	w := newWorld(t, []string{"--standalone", "--events"}, fmt.Sprintf(`  - {name: ocsf, kind: file, form: ocsf, path: %s}
  - {name: lines, kind: file, form: text, path: %s}
  - {name: syslog, kind: syslog, form: ocsf, transport: tcp, address: %s}
`, quote(archives["ocsf"]), quote(archives["text"]), quote(listenSyslog(t, syslog))))
	w.write("rules.yaml", canaryRules)
	w.agent.stdout = w.path("agent.json")
	w.start()

	// What nobody fetches stays in the spool, which is then copied.
	w.agentWay.cutOff(true)
	first := w.plant(random, 1)
	w.until(time.Minute, "all is spooled and printed", func() error {
		k := readSpool(w, w.spool()) // of a copy, that the agent goes on with does no harm
		missing := slices.DeleteFunc(slices.Clone(first.marks), func(mark string) bool { return k.marks[mark] })
		if len(missing) > 0 {
			return fmt.Errorf("%v are not in the spool", missing)
		}
		return w.printed()
	})
	w.agent.kill()
	spooled := w.path("spooled")
	if err := os.CopyFS(spooled, os.DirFS(w.path("agent", "state"))); err != nil {
		t.Fatal(err)
	}
	w.agentWay.cutOff(false)
	w.agent.stdout = w.path("agent.txt")
	w.agentFlags = append(w.agentFlags, "--output", "text")
	if err := w.agent.start(); err != nil {
		t.Fatal(err)
	}
	second := w.plant(random, 2)
	marks := slices.Concat(first.marks, second.marks)
	w.until(time.Minute, "all is printed", w.printed)

	outlets := []*outlet{newOutlet("siem", w.siem.stdout), newOutlet("archive", w.path("archive.json")), newOutlet("webhook", w.path("hook.json"))}
	w.until(time.Minute, "every command is told of", func() error {
		for _, o := range outlets {
			if err := o.catchUp(); err != nil {
				return err
			}
			for _, mark := range marks {
				if len(o.marks[mark]) == 0 {
					return fmt.Errorf("%s was not told of %s", o.name, mark)
				}
			}
			if o.order[len(o.order)-1] != outlets[0].order[len(outlets[0].order)-1] {
				return fmt.Errorf("%s is not as far as the siem", o.name)
			}
		}
		for _, path := range append(slices.Collect(maps.Values(archives)), syslog) {
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), marks[len(marks)-1]) {
				return errors.Join(err, fmt.Errorf("%s has not the last mark", path))
			}
		}
		return nil
	})
	metrics, err := w.scrape()
	if err != nil {
		t.Fatal(err)
	}
	w.write("metrics.txt", strings.Join(slices.Collect(maps.Keys(metrics)), "\n"))
	// While it runs, and after: what is in the write-ahead log goes into the database at the end.
	running := w.path("running")
	if err := os.CopyFS(running, os.DirFS(w.path("collector", "data"))); err != nil {
		t.Fatal(err)
	}
	w.agent.stop()
	w.stopReaders()
	w.collector.stop()
	decoded := w.path("decoded")
	w.dumpLog(decoded)

	secrets, plain := newHunt(slices.Concat(first.secrets, second.secrets)), newHunt(marks)
	own := newHunt([]string{"ready: process_exec", "ready: cluster whole"})
	for _, place := range []struct {
		name  string
		proof *hunt // what has to be found there
		least int
		paths []string
	}{
		{"the spool, before anything was sent", plain, len(first.marks), []string{filepath.Join(spooled, "spool")}},
		{"the agent's state", nil, 0, []string{spooled, w.path("agent", "state")}},
		{"the agent's output in JSON", plain, len(first.marks), []string{w.path("agent.json")}},
		{"the agent's output in text", plain, len(second.marks), []string{w.path("agent.txt")}},
		{"the agent's log", own, 1, []string{w.agent.errors}},
		{"the agent's metrics", nil, 0, []string{w.path("metrics.txt")}},
		{"the event log's files", nil, 0, []string{w.path("collector", "data", "events")}},
		{"the event log's messages", plain, len(marks), []string{decoded}},
		{"the collector's folder while it runs", plain, len(marks), []string{running}},
		{"the store", plain, len(marks), []string{w.path("collector", "data", "store.db")}},
		{"the collector's folder", plain, len(marks), []string{w.path("collector", "data")}},
		{"the collector's log", own, 1, []string{w.collector.errors}},
		{"the siem", plain, len(marks), []string{w.siem.stdout}},
		{"the siem's log", nil, 0, []string{w.siem.errors}},
		{"the file sink in JSON", plain, len(marks), []string{w.path("archive.json")}},
		{"the file sink in OCSF", plain, len(marks), []string{archives["ocsf"]}},
		{"the file sink in text", plain, len(marks), []string{archives["text"]}},
		{"syslog", plain, len(marks), []string{syslog}},
		{"the webhook", plain, len(marks), []string{w.path("hook.json")}},
	} {
		if place.name == "the siem's log" {
			if _, err := os.Stat(place.paths[0]); errors.Is(err, os.ErrNotExist) {
				continue
			}
		}
		found, size, err := secrets.files(place.paths...)
		if err != nil {
			t.Fatal(err)
		}
		for what, where := range found {
			t.Errorf("%s has %s\n%s", place.name, what, where)
		}
		proven := map[string]string{}
		if place.proof != nil {
			if proven, _, err = place.proof.files(place.paths...); err != nil {
				t.Fatal(err)
			}
			distinct := map[string]bool{}
			for what := range proven {
				distinct[what[strings.LastIndexByte(what, ' ')+1:]] = true
			}
			if len(distinct) < place.least {
				t.Errorf("%s: of %d marks the same search finds %d", place.name, place.least, len(distinct))
			}
			proven = map[string]string{}
			for what := range distinct {
				proven[what] = ""
			}
		}
		t.Logf("%-40s %9d bytes, %d secrets, %d marks", place.name, size, len(found), len(proven))
	}
}

// printed says that nothing waits to be printed.
func (w *world) printed() error {
	m, err := w.scrape()
	if err != nil {
		return err
	}
	if printed, want := m["seawall_agent_records_printed_total"], m["seawall_agent_detections_total"]; printed < want {
		return fmt.Errorf("%v records are printed of at least %v", printed, want)
	}
	return nil
}

// listenSyslog writes what comes to a file until the test ends.
func listenSyslog(t testing.TB, path string) (address string) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(out, conn) // until the collector ends
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("the collector keeps syslog open")
		}
		out.Close()
	})
	return listener.Addr().String()
}
