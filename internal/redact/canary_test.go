package redact

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// canaryBytes: no part of a planted secret of that length may be left.
const canaryBytes = 6

// canaries are argv with one planted secret each; {} is the place, behind it how the
// secret is made.
var canaries = []struct {
	secret func(*rand.Rand) string
	args   []string
}{
	{word, []string{"mysql", "-uroot", "-p{}", "shop"}},
	{word, []string{"mysqldump", "--password={}", "--all-databases"}},
	{phrase, []string{"app", "--password={}", "--verbose"}},
	{phrase, []string{"app", "--db-password", "{}", "start"}},
	{word, []string{"sshpass", "-p", "{}", "ssh", "kim@host", "id"}},
	{word, []string{"sshpass", "-p{}", "ssh", "kim@host"}},
	{word, []string{"curl", "-u", "kim:{}", "https://example.com/"}},
	{word, []string{"curl", "-sSku", "kim:{}", "https://example.com/"}},
	{word, []string{"redis-cli", "-h", "cache", "-a", "{}", "keys", "*"}},
	{phrase, []string{"ldapsearch", "-x", "-D", "cn=admin", "-w", "{}"}},
	{word, []string{"smbclient", "//files/share", "-U", "kim%{}"}},
	{word, []string{"mongosh", "-u", "kim", "-p", "{}", "--host", "db"}},
	{word, []string{"docker", "login", "-u", "kim", "-p", "{}", "registry.example.com"}},
	{word, []string{"helm", "registry", "login", "-p", "{}", "registry.example.com"}},
	{word, []string{"kubectl", "--token", "{}", "get", "pods"}},
	{serviceAccountToken, []string{"kubectl", "--token={}", "get", "pods"}},
	{serviceAccountToken, []string{"curl", "-k", "-H", "Authorization: Bearer {}", "https://10.0.0.1:6443/api"}},
	{serviceAccountToken, []string{"app", "{}"}},
	{bootstrapToken, []string{"kubeadm", "join", "10.0.0.1:6443", "--token", "{}"}},
	{bootstrapToken, []string{"app", "{}"}},
	{aws, []string{"aws", "configure", "set", "aws_secret_access_key", "{}"}},
	{aws, []string{"env", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY={}", "aws", "s3", "ls"}},
	{aws, []string{"s3fs", "AKIAIOSFODNN7EXAMPLE:{}"}},
	{aws, []string{"mc", "alias", "set", "s", "https://s3.example.com", "AKIAIOSFODNN7EXAMPLE", "{}"}},
	{alibaba, []string{"aliyun", "configure", "set", "--access-key-id", "LTAI5tAbCdEfGhIjKlMnOpQr", "--access-key-secret", "{}"}},
	{alibaba, []string{"ossutil", "config", "-i", "LTAI5tAbCdEfGhIjKlMnOpQr", "-k", "{}"}},
	{word, []string{"openssl", "pkcs12", "-in", "x.p12", "-passin", "pass:{}", "-nodes"}},
	{word, []string{"7z", "x", "-p{}", "loot.7z"}},
	{word, []string{"zip", "-rP", "{}", "loot.zip", "/etc"}},
	{phrase, []string{"gpg", "--batch", "--passphrase", "{}", "-c", "loot.tar"}},
	{word, []string{"wget", "--http-user=kim", "--http-password={}", "http://example.com/"}},
	{word, []string{"git", "clone", "https://kim:{}@git.example.com/a.git"}},
	{word, []string{"psql", "postgresql://kim:{}@db:5432/shop?sslmode=require"}},
	{word, []string{"app", "amqp://kim:{}@mq/"}},
	{word, []string{"curl", "https://example.com/x?user=kim&access_token={}&page=2"}},
	{hexDigits, []string{"curl", "https://b.s3.amazonaws.com/k?X-Amz-Expires=60&X-Amz-Signature={}"}},
	{basicPair, []string{"git", "-c", "http.extraheader=Authorization: Basic {}", "fetch"}},
	{github, []string{"sh", "-c", "git clone https://{}@github.com/a/b.git /tmp/x"}},
	{github, []string{"echo", "{}"}},
	{word, []string{"sh", "-c", "mysql -uroot -p{} -e 'select 1' | tee /tmp/x"}},
	{word, []string{"sh", "-c", "PGPASSWORD={} psql -h db -c 'select 1'"}},
	{phrase, []string{"bash", "-c", "export DB_PASSWORD='{}'; ./run"}},
	{phrase, []string{"sh", "-c", "su - kim -c \"app --password '{}' start\""}},
	{word, []string{"sh", "-c", "echo 'root:{}' | chpasswd"}},
	{word, []string{"sh", "-c", "echo {} | docker login -u kim --password-stdin"}},
	{word, []string{"sh", "-c", "echo {} | /opt/own/app --password-stdin start"}},
	{word, []string{"sh", "-c", `curl -d "{\"user\":\"kim\",\"password\":\"{}\"}" https://example.com/`}},
	{word, []string{"php", "-r", "$password = '{}'; connect($password);"}},
	{word, []string{"python3", "-c", `connect(host="db", password="{}")`}},
	{phrase, []string{"env", "A_TOKEN={}", "cmd"}},
	{word, []string{"sh", "-c", "echo 'machine git.example.com login kim password {}' > ~/.netrc"}},
	{word, []string{"sed", "-i", "s/password=.*/password={}/", "/etc/app.conf"}},
	{word, []string{"redis-cli", "CONFIG", "SET", "requirepass", "{}"}},
	{word, []string{"curl", "-Hauthorization: token {}", "https://example.com/"}},
	{word, []string{"docker", "run", "-e", "MYSQL_ROOT_PASSWORD={}", "-p", "3306:3306", "mysql:8"}},
	{phrase, []string{"curl", "-H", "X-Api-Key: {}", "https://example.com/"}},
	{word, []string{"curl", "-H", "Cookie: theme=dark; session={}", "https://example.com/"}},
	{pemBody, []string{"sh", "-c", "echo '-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----' > /tmp/k"}},
	{word, []string{"kubectl", "exec", "-it", "db-0", "--", "mysql", "-uroot", "-p{}"}},
	{word, []string{"mysql", "-e", "ALTER USER 'kim' IDENTIFIED BY '{}'"}},
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func pick(r *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

// word has both cases and a digit.
func word(r *rand.Rand) string      { return "Q" + pick(r, letters+"._~!", 14) + "7" }
func hexDigits(r *rand.Rand) string { return hex.EncodeToString([]byte(pick(r, letters, 32))) }
func phrase(r *rand.Rand) string {
	return word(r) + " " + pick(r, letters, 7) + " ü" + pick(r, letters, 9)
}
func bootstrapToken(r *rand.Rand) string {
	return pick(r, letters[:26], 6) + "." + pick(r, letters[:26]+"0123456789", 15) + "4"
}
func aws(r *rand.Rand) string     { return "wJ4" + pick(r, letters+"+/", 37) }
func alibaba(r *rand.Rand) string { return "wJ4" + pick(r, letters, 27) }
func github(r *rand.Rand) string  { return "ghp_" + pick(r, letters, 36) }
func basicPair(r *rand.Rand) string {
	return base64.StdEncoding.EncodeToString([]byte("kim:" + word(r)))
}
func serviceAccountToken(r *rand.Rand) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"RS256","kid":"`+pick(r, letters, 40)+`"}`) + "." +
		part(`{"iss":"kubernetes/serviceaccount","sub":"`+pick(r, letters, 60)+`"}`) + "." + pick(r, letters+"-_", 300)
}
func pemBody(r *rand.Rand) string {
	return pick(r, letters+"+/", 64) + "\n" + pick(r, letters+"+/", 64) + "\n" + pick(r, letters, 30) + "=="
}

// planted is a detection as a rule makes it of a process of args below others, its
// evidence with argv joined, cut, and by itself.
func planted(args []string, dirty bool) *sensorv1.Record {
	process := &event.Process{ID: "p", Name: args[0], Args: args}
	if dirty { // text that is not UTF-8 escapes all of the event
		process.CWD = "/tmp/\xff\\x"
	}
	parent := &event.Process{ID: "q", Name: "sh", Args: append([]string{"sh"}, args...)}
	process.Parent = parent
	m := (&event.Event{
		Header:  event.Header{Kind: event.KindProcessExec},
		Process: process,
		Session: &event.Session{ID: "s", Args: args},
		Payload: &event.Exec{Before: parent},
	}).ProtoWithAncestors("b")
	words := m.Process.Args
	joined := strings.Join(words, " ")
	d := &sensorv1.Detection{Event: m, Summary: "kim started " + joined + ", entered with: " + joined, Evidence: map[string]string{
		"command": joined, "lines": strings.Join(words, "\n"), "last": words[len(words)-1], "quoted": `"` + strings.Join(words, `", "`) + `"`,
	}}
	for at := 1; at < len(joined); at += 3 {
		d.Evidence[fmt.Sprintf("cut%03d", at)] = strings.ToValidUTF8(joined[:at], "") + ellipsis
	}
	return &sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: d}}
}

func TestNoByteOfACanaryIsLeft(t *testing.T) {
	if len(canaries) < 50 {
		t.Fatalf("only %d canaries", len(canaries))
	}
	r := redactor(t)
	source := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		for _, c := range canaries {
			secret := c.secret(source)
			args := make([]string, len(c.args))
			for i, a := range c.args {
				args[i] = strings.Replace(a, "{}", secret, 1)
			}
			rest := strings.Join(c.args, " ")
			m := planted(args, round%2 == 1)
			before, err := proto.Marshal(m)
			if err != nil || parts(string(before), secret, rest) == "" && round%2 == 0 {
				t.Fatalf("%q: the canary is not planted: %v", args, err)
			}
			r.Record(m)
			after, err := proto.Marshal(m)
			if err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			line, err := event.AppendJSON(nil, m)
			if err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			for _, text := range []string{string(after), string(line)} {
				if left := parts(text, secret, rest); left != "" {
					t.Fatalf("%q: %q of %q is left in\n%v", c.args, left, secret, m.GetDetection())
				}
			}
			if once := proto.CloneOf(m); r.Record(m) != 0 || !proto.Equal(once, m) {
				t.Errorf("%q: redacted twice: %s", args, cmp.Diff(once, m, protocmp.Transform()))
			}
		}
	}
}

// parts returns a part of the secret that is in text and was not in the rest of argv.
func parts(text, secret, rest string) string {
	for i := 0; i+canaryBytes <= len(secret); i++ {
		if part := secret[i : i+canaryBytes]; strings.Contains(text, part) && !strings.Contains(rest, part) {
			return part
		}
	}
	return ""
}
