package event

import "testing"

// line makes processes, each the child of the one before, and returns the last.
func line(marks ...Tree) *Process {
	var last *Process
	for i, mark := range marks {
		last = &Process{ID: string(rune('a' + i)), Tree: mark, Parent: last}
	}
	return last
}

func TestTreeRoot(t *testing.T) {
	entered := &Session{RootID: "session"}
	for _, test := range []struct {
		name  string
		event Event
		want  string
	}{
		{"no tree", Event{Process: line(0, 0)}, ""},
		{"nobody", Event{Header: Header{Tree: TreeWeb}}, ""},
		{"a shell below two servers, one started by the other", Event{Header: Header{Tree: TreeWeb},
			Process: line(0, TreeWebServer, TreeWebServer, TreeWeb, TreeWeb)}, "b"},
		{"a server that a script of the web tree starts", Event{Header: Header{Tree: TreeWeb},
			Process: line(TreeWebServer, TreeWeb, TreeWebServer, TreeWeb)}, "a"},
		{"a shell whose server is not known", Event{Header: Header{Tree: TreeWeb}, Process: line(0, TreeWeb, TreeWeb)}, "b"},
		{"a server itself", Event{Header: Header{Tree: TreeWebServer}, Process: line(0, TreeWebServer)}, "b"},
		{"entered from outside", Event{Header: Header{Tree: TreeEntered}, Process: line(0, TreeEntered), Session: entered}, "session"},
		{"a shell of a web server, in a session", Event{Header: Header{Tree: TreeEntered | TreeWeb},
			Process: line(TreeEntered, TreeEntered|TreeWebServer, TreeEntered|TreeWeb), Session: entered}, "b"},
		{"a rule's hit", Event{Header: Header{Tree: TreeRule}, Process: line(0, 0, TreeRule, TreeRule)}, "c"},
	} {
		if got := test.event.TreeRoot(); got != test.want {
			t.Errorf("%s: root %q, want %q", test.name, got, test.want)
		}
	}
}
