package rule

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

// atoms use every function, macro and type of the language. `shells` and
// `extensions` are lists.
func atoms() []string {
	return []string{
		`true`, `false`, `kind == 2`, `kind in [16, 17]`, `tid > 3u`, `boot_time_ns <= 1000000000000u`, `result_known`, `result == -2`, `result < 0 && result_known`,
		`has(container)`, `has(session)`, `has(open)`, `has(exec)`, `has(map)`, `has(event.namespace)`, `has(container.pod)`, `has(process.exe)`,
		`has(process.exe.origin)`, `has(process.tty)`, `has(process.exec_time)`, `has(process.namespaces)`, `has(process.credentials)`,
		`has(process.args)`, `has(container.labels)`, `has(container.labels.app)`, `has(tree)`, `has(connect.remote)`, `has(connect.remote.ip)`,
		`has(protect.file)`, `has(protect.before)`, `has(fork.child.namespaces)`, `has(exec.before)`, `has(result)`, `has(open.write)`,
		`process.name in shells`, `process.name in ["nginx", process.comm]`, `!(process.name in shells)`, `process.pid in [1u, 2u, process.ns_pid]`,
		`process.name == "bash"`, `process.name != "bash"`, `process.unknown == true`, `process.unknown != has(process.exe)`,
		`process.name < "m"`, `process.tty >= "p"`, `process.name.size() > 4`, `size(process.filename) == 6`, `process.name.startsWith("b")`,
		`process.exe.path.endsWith("shadow")`, `process.exe.path.contains("w")`, `process.exe.path.matches("^/(etc|tmp)")`, `process.cwd.startsWith(process.filename)`,
		`process.exe.filesystem == "0x1234"`, `process.exe.filesystem in ["overlay", "proc"]`, `process.exe.change_time > timestamp("2026-09-21T14:30:00Z")`,
		`process.exe.origin.age < duration("10m")`, `process.exe.origin.age == duration("0s")`, `process.exe.origin.process_name == "curl"`,
		`process.exe.origin.process_path.base() in shells`, `process.exe.origin.process_id == ""`, `time - process.start_time < duration("30m")`, `time > process.start_time`, `process.exec_time == process.start_time`,
		`process.exe.shipped`, `process.exe.origin.process_shipped`, `process.exe.origin.process_program == "ash"`, `process.program == "ash"`, `process.program in shells`, `process.program != process.name`, `ancestors.exists(a, a.program == "busybox")`, `process.stdio.exists(s, s.device == 1u)`,
		`process.args.at(1) == "-c"`, `process.args.at(-1) == ""`, `"-i" in process.args`, `process.comm in process.args`, `process.args.size() == 2`, `process.args.exists(a, a == "-c")`,
		`process.args.all(a, a.size() < 4)`, `process.args.exists(a, a in shells)`, `process.args.exists(a, tree.exists(b, a != b && b in shells || a == "-c"))`,
		`process.args_truncated && process.args_bytes > 3u`, `process.credentials.euid == 0u`, `process.credentials.cap_effective > 4u`, `process.session_leader != 0u`,
		`process.stdio.exists(s, s.kind == "socket" && s.remote.family == "ipv4")`, `process.stdio.all(s, s.local.port == 0u)`, `process.stdio.size() == 3`, `process.stdio.exists(s, has(s.remote) && !s.remote.loopback)`,
		`process.stdio.exists(s, s.remote.ip in ["127.0.0.1", "10.0.0.1", ""])`, `process.stdio.exists(s, s.remote.ip == s.local.ip)`, `process.host_mount_namespace`, `process.coarse`,
		`ancestors.exists(a, a.name == "nginx")`, `ancestors.all(a, a.name != "nginx")`, `ancestors.size() == 16`, `ancestors.exists(a, a.args.exists(w, w == "-c"))`,
		`ancestors.exists(a, ancestors.exists(b, a.name == b.name && a.pid != b.pid))`, `ancestors.exists(process, process.unknown)`, `ancestors.exists(a, a.exe.overlay_upper)`, `ancestors.exists(a, a.name in shells && a.namespaces.mount == process.namespaces.mount)`,
		`"web" in tree`, `"web-server" in tree || "nothing" in tree`, `tree.exists(t, t == "rule")`, `tree.all(t, t.size() > 3)`, `tree.size() > 2`, `tree.at(1) == "web"`, `process.name in tree`,
		`container.name == "web"`, `container.pod.namespace == "shop"`, `"app" in container.labels`, `container.labels.get("app") == "web"`, `container.labels.size() == 2`, `container.created < time`, `container.cgroup_id == 1u`,
		`session.init`, `session.tty == process.tty`, `session.args.at(0) == "bash"`, `session.root_id == "r1"`, `has(session) ? session.init : process.unknown`, `(has(open) ? open.file.name : rename.new_name) == "a.php"`,
		`fork.child.pid == 8u`, `fork.child.unknown`, `fork.child.name in shells`, `fork.child.namespaces.pid == 1u`, `exec.entered && !exec.init`, `exec.before.name == "bash"`, `exit.code == 1u`, `exit.signal > 0u`,
		`"net" in event.namespace.changed`, `event.namespace.joined_host.size() > 0`, `event.namespace.joined_host.exists(n, n == "mount")`, `event.namespace.joined_host.at(0) == "pid"`, `event.namespace.changed.all(c, c in event.namespace.joined_host)`, `event.namespace.after.user != event.namespace.before.user`,
		`open.write`, `open.read && !open.write`, `open.created || open.truncate`, `open.failed`, `open.flags == 2u`, `open.file.name == "shadow"`, `open.file.path.ext() in extensions`, `open.file.path.base() == open.file.name`, `extensions.exists(x, open.file.name.endsWith(x))`, `extensions.all(x, open.file.name.ext() != x)`,
		`shells.exists(s, s == process.name)`, `["a", "b"].exists(x, x == process.name)`, `open.file.path in ["/etc/shadow", "/etc/gshadow"]`, `open.file.size_bytes > 4000u`, `open.file.deleted || open.file.memfd`, `open.file.mode == 0u`, `open.file.inode == 1u && open.file.device == 1u`,
		`rename.new_name.ext() == ".php"`, `rename.new_path.startsWith("/var/www/")`, `rename.file.name == "shadow"`, `unlink.file.path == "/etc/shadow"`, `chmod.executable`, `chmod.mode > 64u`, `chmod.file.name.endsWith("php")`,
		`connect.path.base() in ["docker.sock"]`, `connect.remote.port == 22u`, `connect.remote.port in [22u, 443u]`, `connect.remote.ip == "169.254.169.254"`, `connect.remote.family == "unix"`, `connect.remote.loopback`, `connect.type == "77"`, `connect.protocol == 6u`, `connect.local.port > connect.remote.port`, `accept.local.port == 443u`, `accept.remote.ip != "10.0.0.1"`,
		`protect.write_to_execute`, `protect.write_and_execute`, `protect.region == "anonymous"`, `protect.region in ["memfd", "stack"]`, `protect.after.write`, `protect.before.execute`, `protect.before_unknown`, `protect.length_bytes > 4096u`, `protect.file.path.contains("shadow")`, `map.write_and_execute`, `map.map_flags == 1u`, `map.address == 0u`,
		`cgroup_create.path.contains("x")`, `cgroup_remove.id == 1u`, `user_memory`, `compat`, `path_truncated`, `self_test`, `sequence > 4u && cpu == 1u && cpu_sequence == 0u`,
	}
}

func testLists() map[string][]string {
	return map[string][]string{"shells": {"bash", "dash", "sh"}, "extensions": {".php", ".phtml"}, "web_roots": {"/var/www/", "/srv/"}}
}

// expression makes one of atoms.
func (g generator) expression(all []string, depth int) string {
	if depth == 0 {
		return pick(g, all...)
	}
	a, b := g.expression(all, g.IntN(depth)), g.expression(all, depth-1)
	switch g.IntN(8) {
	case 0:
		return "!(" + a + ")"
	case 1:
		return fmt.Sprintf("((%s) ? (%s) : (%s))", g.expression(all, 0), a, b)
	case 2:
		return fmt.Sprintf("((%s) == (%s))", a, b)
	case 3, 4, 5:
		return fmt.Sprintf("(%s) && (%s)", a, b)
	}
	return fmt.Sprintf("(%s) || (%s)", a, b)
}

// The closures answer as cel-go's interpreter does over the protobuf form.
func TestClosuresAgreeWithInterpreter(t *testing.T) {
	language, err := newLanguage(testLists())
	if err != nil {
		t.Fatal(err)
	}
	g := newGenerator(1)
	events := make([]*event.Event, 150)
	activations := make([]variables, len(events))
	for i := range events {
		events[i] = g.event()
		activations[i] = variables{language, events[i].ProtoWithAncestors(testBoot)}
	}
	expressions := atoms()
	for range 300 {
		expressions = append(expressions, g.expression(atoms(), 3))
	}
	c := compiler{schema: newSchema(), lists: language.lists}
	hits := make(map[bool]int)
	for _, expression := range expressions {
		checked, issues := language.env.Compile(expression)
		if issues.Err() != nil {
			t.Fatalf("%s: %v", expression, issues.Err())
		}
		program, err := language.env.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		code, err := c.condition(checked.NativeRep())
		if err != nil {
			t.Fatalf("lower %s: %v", expression, err)
		}
		var f frame
		for i, e := range events {
			want, _, err := program.Eval(activations[i])
			if err != nil {
				t.Fatalf("interpret %s: %v", expression, err)
			}
			f.event = e
			if got := code(&f); types.Bool(got) != want {
				t.Fatalf("%s is %v, interpreted %v, of\n%v", expression, got, want, activations[i].event)
			}
			hits[code(&f)]++
		}
	}
	if hits[true] < 1000 || hits[false] < 1000 {
		t.Errorf("events decide too little: %v", hits)
	}
}

// Every field of the schema is either readable by conditions or says why not.
func TestSchemaIsComplete(t *testing.T) {
	s := newSchema()
	seen := make(map[protoreflect.FullName]bool)
	var visit func(protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || m.IsMapEntry() || !strings.HasPrefix(string(m.FullName()), schemaPackage) {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if entry, ok := s[m.FullName()][f.Name()]; !ok || (entry.lower == nil) == (entry.why == "") {
				t.Errorf("%s.%s is not in the schema of conditions", m.FullName(), f.Name())
			}
			if f.Message() != nil {
				visit(f.Message())
			}
		}
		for name := range s[m.FullName()] {
			if m.Fields().ByName(name) == nil {
				t.Errorf("%s has no field %s", m.FullName(), name)
			}
		}
	}
	visit(eventDescriptor())
	if len(seen) != len(s) {
		t.Errorf("schema of conditions has %d messages, the protobuf %d", len(s), len(seen))
	}
}

// The payload variables are the oneof of the schema, each with its own kind.
func TestPayloadKindsAreTheOneof(t *testing.T) {
	want := make(map[protoreflect.Name]bool)
	fields := eventDescriptor().Oneofs().ByName("payload").Fields()
	for i := range fields.Len() {
		want[fields.Get(i).Name()] = true
	}
	kinds := make(map[event.Kind]bool)
	got := make(map[protoreflect.Name]bool)
	for name, kind := range payloadKinds() {
		got[name], kinds[kind] = true, true
	}
	if !reflect.DeepEqual(got, want) || len(kinds) != len(event.Kinds) {
		t.Errorf("payloads %v of %d kinds, schema has %v of %d", got, len(kinds), want, len(event.Kinds))
	}
}
