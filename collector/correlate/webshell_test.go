package correlate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func wantBrief(t *testing.T, want string, rs ...*sensorv1.Record) {
	t.Helper()
	if got := brief(final(t, rs...)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDoor(t *testing.T) {
	s := &scene{container: "c"}
	rs := []*sensorv1.Record{
		s.accept(0, "198.51.100.1"), // long gone
		s.accept(55*time.Second, "203.0.113.66"),
		s.connect(58*time.Second, "server", "", "203.0.113.99", servers), // the server calls back
		s.shell(time.Minute),
		s.accept(61*time.Second, "198.51.100.2"), // an honest visitor, after it
		s.script(65 * time.Second),
		s.accept(3*time.Minute, "198.51.100.3"),
	}
	alerts := final(t, rs...)
	want := []string{
		"entry nginx took a connection from 203.0.113.66 on port 80", "connect curl connected to 203.0.113.99 port 443",
		"shell sh web-server-spawned-shell 4", "entry nginx took a connection from 198.51.100.2 on port 80",
		"script nginx webshell-file-created-by-server 6",
	}
	if len(alerts) != 1 {
		t.Fatalf("got %s", brief(alerts))
	}
	if diff := cmp.Diff(want, texts(alerts[0])); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(alerts[0].Summary, "Came in: nginx took a connection from 203.0.113.66 on port 80;") {
		t.Errorf("summary: %s", alerts[0].Summary)
	}
	// The door may be told of after what came through it.
	late := []*sensorv1.Record{rs[3], rs[0], rs[1], rs[2], rs[4], rs[5], rs[6]}
	if diff := cmp.Diff(want, texts(latest(play(t, logOf(t, late)))[0])); diff != "" {
		t.Errorf("late: -want +got:\n%s", diff)
	}
}

func TestContext(t *testing.T) {
	s := &scene{container: "c"}
	rs := []*sensorv1.Record{
		s.exec(0, "p1", "server", "eleven minutes before"),
		s.exec(2*time.Minute, "p2", "server", "nine minutes before"),
		s.shell(11 * time.Minute),
		s.exec(20*time.Minute, "p3", "server", "nine minutes after"),
		s.exec(5*time.Hour, "p4", "server", "hours after"),
		s.exec(5*time.Hour, "p5", "shell", "by the intruder"),
		s.exec(6*time.Hour, "p6", "p5", "by the intruder's child"),
	}
	want := []string{
		"execute sh was run: nine minutes before", "shell sh web-server-spawned-shell 3", "execute sh was run: nine minutes after",
		"execute sh was run: by the intruder", "execute sh was run: by the intruder's child",
	}
	for name, order := range map[string][]int{"in order": {0, 1, 2, 3, 4, 5, 6}, "telemetry behind": {2, 0, 1, 3, 4, 5, 6}} {
		var came []*sensorv1.Record
		for _, i := range order {
			came = append(came, rs[i])
		}
		alerts := final(t, came...)
		if len(alerts) != 1 {
			t.Fatalf("%s: got %s", name, brief(alerts))
		}
		if diff := cmp.Diff(want, texts(alerts[0])); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestContextAloneIsNoAlert(t *testing.T) {
	s := &scene{container: "c"}
	var rs []*sensorv1.Record
	for i := range 200 {
		at := time.Duration(i) * time.Second
		rs = append(rs, s.exec(at, fmt.Sprint(i), "server", "convert"), s.connect(at, fmt.Sprint(i), "server", "192.0.2.1", below), s.accept(at, "198.51.100.1"))
	}
	wantBrief(t, "", rs...)
	// Of the many that waited, the latest are taken over, and each is told once.
	wantBrief(t, "web-shell high r1 e1 4+37", append(rs, s.shell(200*time.Second))...)
}

// What is decided alone depends on who did it; told it is in any case, once.
func TestWhoDecides(t *testing.T) {
	for _, test := range []struct {
		name, rule string
		tree       []string
		want       string
	}{
		{"a server reads a watched file", "sensitive-file-read", servers, "detection medium r1 e1 1+0"},
		{"a program below it does", "sensitive-file-read", below, "web-shell high r1 e1 1+0"},
		{"a server's child that is a server", "sensitive-file-read", []string{"web", "web-server"}, "detection medium r1 e1 1+0"},
		{"code is made below it", "mem-wx-transition", below, "detection medium r1 e1 1+0"},
		{"somebody's own rule", "acme-backup", below, "detection medium r1 e1 1+0"},
		{"a server tries a knob", "escape-core-pattern", servers, "escape medium r1 e1 1+0"},
		{"a program below it tries one", "escape-core-pattern", below, "web-shell critical r1 e1 1+0"},
		{"outside of trees", "sensitive-file-read", nil, "detection medium r1 e1 1+0"},
		{"entered from outside", "sensitive-file-read", []string{"entered"}, "detection medium r1 e1 1+0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &scene{container: "c"}
			wantBrief(t, test.want, s.record(act{process: "p", parent: "server", program: "p", tree: test.tree, rule: test.rule}))
		})
	}
}

// An alert that a web shell turns out to be behind is linked with it, and its fact is told there.
func TestLinks(t *testing.T) {
	s := &scene{container: "c"}
	memory := s.record(act{at: 0, process: "server", program: "nginx", tree: servers, rule: "mem-rwx-mapping"})
	alerts := final(t, memory, s.shell(5*time.Minute))
	if got := brief(alerts); got != "detection medium r2 e1 1+0\nweb-shell high r1 e1 2+0" {
		t.Fatalf("got %s", got)
	}
	if diff := cmp.Diff([]string{"incident:" + alerts[1].Id}, alerts[0].Tags); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Once the web shell is known, the like is a part of it and nothing else.
	wantBrief(t, "web-shell high r2 e1 2+0", s.shell(0), s.record(act{at: time.Minute, process: "server", program: "nginx", tree: servers, rule: "mem-rwx-mapping"}))
	// Long before it is another story.
	wantBrief(t, "detection medium r1 e1 1+0\nweb-shell high r1 e1 1+0", memory, s.shell(11*time.Minute))
}

// Servers without marks: the rule knows them by their ancestors, and the tag says so.
func TestUnmarkedServer(t *testing.T) {
	s := &scene{container: "c"}
	unmarked := func(a act) *sensorv1.Record {
		r := s.record(a)
		eventOf(r).Session = &sensorv1.Session{RootId: "c" + "java", Init: true}
		return r
	}
	wantBrief(t, "detection medium r2 e1 1+0\nweb-shell critical r2 e1 4+0",
		unmarked(act{process: "sh", parent: "java", program: "sh", rule: "reverse-shell-stdio-socket"}),
		unmarked(act{process: "sh", parent: "java", program: "sh", rule: "web-server-spawned-shell", tags: []string{"web"}}),
		unmarked(act{process: "curl", parent: "sh", program: "curl", rule: "drift-new-binary-executed"}),
		unmarked(act{process: "curl", parent: "sh", program: "curl", payload: func(e *sensorv1.Event) {
			e.Payload = &sensorv1.Event_Connect{Connect: &sensorv1.NetworkFlow{Remote: &sensorv1.Address{Ip: "192.0.2.7", Port: 80}}}
		}}),
	)
}

func TestTreesAndContainersAreApart(t *testing.T) {
	a, b := &scene{container: "a"}, &scene{container: "b"}
	wantBrief(t, "web-shell high r1 e1 1+0\nweb-shell high r1 e1 1+0", a.shell(0), b.shell(time.Second))
	l := newLog()
	l.send(t, testAgent, noon, 0, a.shell(0))
	l.send(t, "another agent", noon, 0, (&scene{container: "a"}).shell(0)) // says the same of itself
	l.tick(t, recount)
	if got := brief(latest(play(t, l.messages))); got != "web-shell high r1 e1 1+0\nweb-shell high r1 e1 1+0" {
		t.Errorf("got %s", got)
	}
}

func TestEpisodes(t *testing.T) {
	s := &scene{container: "c"}
	alerts := final(t,
		s.shell(0), s.script(23*time.Hour), // not quiet for long enough
		s.exec(48*time.Hour, "p", "server", "honest"), // decides nothing
		s.shell(49*time.Hour),
		s.script(47*time.Hour), // late
	)
	if got := brief(alerts); got != "web-shell critical r2 e1 2+0\nweb-shell critical r2 e2 2+0" {
		t.Errorf("got %s", got)
	}
	if len(alerts) == 2 && alerts[0].Id == alerts[1].Id {
		t.Error("two episodes of one id")
	}
}

// TestAnyOrder: whatever comes first, the incident is one alert with the same evidence.
func TestAnyOrder(t *testing.T) {
	rs := records(t, intrusion...)
	server := rs[0].GetEvent().GetSession().GetRootId()
	rs = marked(rs, server)
	want := plain(final(t, rs...))
	if got := brief(final(t, rs...)); got != "web-shell critical r6 e1 9+1" {
		t.Fatalf("got %s", got)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		random.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		l := newLog()
		for _, r := range rs { // all of it late
			l.send(t, testAgent, noon.AddDate(0, 0, 2), 0, r)
		}
		l.tick(t, settle)
		l.tick(t, recount)
		got := plain(latest(play(t, l.messages)))
		for _, a := range got {
			a.TimeUncertainty = want[0].TimeUncertainty
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
}

// TestMissing: any one record may be lost; it is still one incident.
func TestMissing(t *testing.T) {
	rs := records(t, intrusion...)
	rs = marked(rs, rs[0].GetEvent().GetSession().GetRootId())
	for i := range rs {
		rest := append(append([]*sensorv1.Record(nil), rs[:i]...), rs[i+1:]...)
		if alerts := final(t, rest...); len(alerts) != 1 || alerts[0].Severity != critical {
			t.Errorf("without record %d: %s", i, brief(alerts))
		}
	}
}
