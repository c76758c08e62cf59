package main

import (
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// detection is one of a shell below PHP, as an agent tells it.
func detection(rule string, at uint64, php string, pid uint32) *sensorv1.Detection {
	return &sensorv1.Detection{
		Id: rule + php, Rule: rule, Severity: sensorv1.Severity_SEVERITY_HIGH, Techniques: []string{"T1059.004"},
		Event: &sensorv1.Event{
			Kind: sensorv1.Kind_KIND_PROCESS_EXEC, BootTimeNs: at,
			Process: &sensorv1.Process{Id: "c", Pid: pid, Name: "dash", Args: []string{"sh", "-c", "ls /tmp/" + php + "aB3"}},
			Ancestors: []*sensorv1.Process{
				{Id: "b", Pid: pid - 1, Name: "php-cgi8.2"}, {Id: "a", Pid: pid - 2, Name: "lighttpd"}, {Id: "0", Name: "runc"},
			},
			Container: &sensorv1.Container{Id: "f00", Name: "web", Pod: &sensorv1.Pod{Name: "shop", Namespace: "store"}},
			Session:   &sensorv1.Session{RootId: "a", Init: true},
			Payload:   &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{}},
		},
	}
}

func TestFacts(t *testing.T) {
	acts := []act{{"serve", 10}, {"break in", 20}, {"stay", 30}}
	scenes := assign([]*sensorv1.Detection{
		detection("b", 31, "phpyyy", 900), detection("a", 22, "phpxxx", 500), detection("b", 35, "phpzzz", 700),
	}, acts, 20)
	first := fact{
		Act: "break in", Rule: "a", Severity: "high", Techniques: []string{"T1059.004"}, Event: "process_exec",
		Object: "sh -c ls /tmp/php*", Chain: []string{"lighttpd", "php-cgi", "dash"}, Session: "init",
		Container: "web", Pod: "store/shop",
	}
	second := first
	second.Act, second.Rule = "stay", "b"
	if diff := gocmp.Diff([]fact{first, second}, facts(scenes)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func TestGolden(t *testing.T) {
	acts := []act{{"break in", 20}}
	path := filepath.Join(t.TempDir(), "golden.json")
	if err := writeGolden(path, facts(assign([]*sensorv1.Detection{detection("a", 22, "phpxxx", 500)}, acts, 20))); err != nil {
		t.Fatal(err)
	}
	same, err := compareGolden(path, facts(assign([]*sensorv1.Detection{detection("a", 27, "phpyyy", 600)}, acts, 20)))
	if err != nil || same != "" {
		t.Errorf("other times, ids and pids make a difference: %v\n%s", err, same)
	}
	other, err := compareGolden(path, facts(assign([]*sensorv1.Detection{detection("z", 27, "phpyyy", 600)}, acts, 20)))
	if err != nil || !strings.Contains(other, `"rule": "z"`) {
		t.Errorf("another rule makes no difference: %v\n%s", err, other)
	}
}

func TestJudge(t *testing.T) {
	acts := []act{{"serve", 10}, {"break in", 20}}
	if _, err := judge(nil); err == nil {
		t.Error("silence was accepted")
	}
	noise := assign([]*sensorv1.Detection{detection("a", 22, "phpxxx", 5), detection("b", 15, "phpxxx", 5)}, acts, 20)
	if _, err := judge(noise); err == nil || !strings.Contains(err.Error(), `raised b in "serve"`) {
		t.Errorf("a detection of the honest day: got %v", err)
	}
}
