package rule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule/builtin"
)

func TestInterestOfConditions(t *testing.T) {
	all := "EVERY ONE on the node is sent to the agent"
	for _, test := range []struct {
		kinds, condition string
		want             []string
	}{
		{"file_open", `open.read && open.file.path == "/etc/shadow"`, []string{"open for read: names shadow", "open for write: names shadow"}},
		{"file_open", `open.write && open.file.name in ["a", "b"]`, []string{"open for write: names a b"}},
		{"file_open", `open.created && extensions.exists(x, open.file.name.endsWith(x))`, []string{"open for write: suffixes .php .phtml"}},
		{"file_open", `open.write && open.file.path.ext() in extensions`, []string{"open for write: suffixes .php .phtml"}},
		{"file_open", `open.write && open.file.path.endsWith("/.ssh/authorized_keys")`, []string{"open for write: names authorized_keys"}},
		{"file_open", `open.write && open.file.path.endsWith("x.tar.gz")`, []string{"open for write: suffixes .gz"}},
		{"file_open", `open.write && open.file.path.endsWith("keys")`, []string{"open for write: " + all}},
		{"file_open", `open.write && open.file.path.endsWith(".toolongending")`, []string{"open for write: " + all}},
		{"file_open", `open.write && web_roots.exists(r, open.file.path.startsWith(r))`, []string{"open for write: prefixes /srv/ /var/www/"}},
		{"file_open", `open.write && web_roots.exists(r, open.file.path.startsWith(r)) && open.file.name == "x"`, []string{"open for write: names x"}},
		{"file_open", `open.write && !(open.file.name != "x" || process.unknown)`, []string{"open for write: names x"}},
		{"file_open", `open.write && open.file.name != "x"`, []string{"open for write: " + all}},
		{"file_open", `open.write ? open.file.name == "w" : open.file.name == "r"`, []string{"open for read: names r", "open for write: names r w"}},
		{"file_open", `open.file.name == "x" || process.name == "y"`, []string{"open for read: " + all, "open for write: " + all}},
		{"file_open", `ancestors.exists(a, a.name == "sh") && open.read && !open.write && open.file.name == process.name`, []string{"open for read: " + all, "open for write: " + all}},
		{"file_open", `process.args.exists(a, open.file.name == "x" && a == "y")`, []string{"open for read: names x", "open for write: names x"}},
		{"file_open", `ancestors.all(a, open.file.name == "x")`, []string{"open for read: " + all, "open for write: " + all}},
		{"file_open, file_rename", `rename.new_path.ext() == ".php" || event.open.write == true && open.file.path.base() == "x"`,
			[]string{"open for write: names x", "rename: suffixes .php"}},
		{"file_unlink", `unlink.file.path.startsWith("/var/log/")`, []string{"unlink: prefixes /var/log/"}},
		{"file_chmod", `chmod.executable && process.name == "x"`, []string{"chmod to executable: every one"}},
		{"file_chmod", `chmod.mode > 3u`, []string{"chmod: " + all}},
		{"network_connect", `connect.path.base() in ["docker.sock"]`, []string{"connect to unix sockets: names docker.sock"}},
		{"network_connect", `connect.remote.port in [22u, 23u]`, []string{"connect: ports 22 23"}},
		{"network_connect", `connect.remote.port == 22u || connect.path.endsWith("/docker.sock")`,
			[]string{"connect to unix sockets: names docker.sock", "connect: ports 22"}},
		{"network_connect", `connect.path.endsWith(".sock")`, []string{"connect to unix sockets: " + all}},
		{"network_connect", `connect.path.startsWith("/run/")`, []string{"connect to unix sockets: " + all}},
		{"file_open", `open.truncate && open.file.name == "x"`, []string{"open for read: names x", "open for write: names x"}},
		{"network_connect", `connect.remote.ip == "169.254.169.254"`, []string{"connect: " + all}},
		{"network_accept", `accept.local.port == 80u`, []string{"accept: ports 80"}},
		{"memory_protect", `protect.write_to_execute && !(process.name in shells)`, []string{"memory from writable to executable: every one"}},
		{"memory_protect, memory_map", `protect.region == "memfd" || map.write_and_execute`,
			[]string{"memory writable and executable: every one", "executable memfd: every one"}},
		{"memory_map", `map.region == "file"`, []string{"executable file mapping: " + all}},
		{"memory_map", `map.write_and_execute == false`, []string{
			"memory from writable to executable: every one", "memory writable and executable: every one", "executable anonymous memory: every one",
			"executable memfd: every one", "executable file mapping: " + all,
		}},
		{"process_exec", `process.name == "x"`, nil},
	} {
		t.Run(test.condition, func(t *testing.T) {
			set := loadCondition(t, test.kinds, test.condition)
			if diff := cmp.Diff(test.want, set.Interest().Lines()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func conditionSource(kinds, condition string) Source {
	quoted := "'" + strings.ReplaceAll(condition, "'", "''") + "'"
	return Source{Name: "rules.yaml", Data: fmt.Appendf(nil,
		"lists: {shells: [bash, dash, sh], extensions: [.php, .phtml], web_roots: [/var/www/, /srv/]}\nrules:\n"+
			"  - {id: x, title: X, severity: low, expensive: true, kinds: [%s], summary: process.name, condition: %s}\n", kinds, quoted)}
}

func loadCondition(t testing.TB, kinds, condition string) *Set {
	t.Helper()
	set, err := Load([]Source{conditionSource(kinds, condition)}, testNow())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func loadBuiltin(t testing.TB) *Set {
	t.Helper()
	sources, err := ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(sources, testNow())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func allKinds() string {
	names := make([]string, len(event.Kinds))
	for i, kind := range event.Kinds {
		names[i] = kind.String()
	}
	return strings.Join(names, ", ")
}

// No event that a rule matches is refused by the interest, nor by the index.
func TestInterestAdmitsWhatRulesMatch(t *testing.T) {
	g := newGenerator(2)
	events := make([]*event.Event, 2000)
	for i := range events {
		events[i] = g.event()
	}
	narrow := []string{
		`open.write`, `open.read`, `!open.write`, `open.created`, `open.file.name == "shadow"`, `open.file.path.endsWith("shadow")`, `open.file.path.endsWith("/shadow")`,
		`open.file.path.startsWith("/etc/")`, `open.file.path.ext() in extensions`, `extensions.exists(x, open.file.name.endsWith(x))`, `open.file.name in ["a.php", "b.php"]`,
		`rename.new_name == "shadow"`, `rename.file.path.ext() == ".php"`, `unlink.file.name == "shadow"`, `chmod.executable`, `chmod.file.name == "shadow"`,
		`connect.path.base() == "docker.sock"`, `connect.path.endsWith(".sock")`, `open.truncate`, `connect.remote.port == 443u`, `connect.remote.port in [22u, 4444u]`, `accept.local.port == 22u`, `connect.remote.family == "unix"`,
		`protect.write_to_execute`, `map.write_and_execute`, `protect.region in ["memfd", "stack"]`, `map.region == "anonymous"`, `process.name in shells`, `process.name == "nginx"`,
		`shells.all(s, process.name != s)`, `web_roots.exists(r, rename.new_path.startsWith(r))`, `"net" in event.namespace.joined_host`,
	}
	bounded := 0
	for i := range 400 {
		condition := g.expression(narrow, 1+i%4)
		set := loadCondition(t, allKinds(), condition)
		if set.Interest().Any&^opsCheap == 0 {
			bounded++
		}
		checkConservative(t, set, events)
	}
	if bounded < 50 {
		t.Errorf("only %d of 400 conditions are bounded", bounded)
	}
	checkConservative(t, loadBuiltin(t), events)
}

func checkConservative(t *testing.T, set *Set, events []*event.Event) {
	t.Helper()
	interest := set.Interest()
	matcher := set.NewMatcher(nil)
	var f frame
	for _, e := range events {
		found := make(map[*Rule]bool)
		matcher.Match(e, func(r *Rule) { found[r] = true })
		f.event = e
		for _, r := range set.Rules() {
			inScope := r.Scope == ScopeAny || (r.Scope == ScopeContainer) == (e.Container != nil)
			matches := false
			for _, kind := range r.Kinds {
				matches = matches || kind == e.Kind && inScope && r.condition(&f)
			}
			if matches != found[r] {
				t.Fatalf("rule %s matches: %v, by the index: %v, of\n%v", r.ID, matches, found[r], e.Proto(testBoot))
			}
			if matches && (!interest.Admits(e) || !r.Interest.Admits(e)) {
				t.Fatalf("interest refuses what rule %s matches:\n%s\n%v", r.ID, strings.Join(interest.Lines(), "\n"), e.Proto(testBoot))
			}
		}
	}
}
