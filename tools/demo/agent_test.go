package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// script writes a program that stands for the agent.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func every(*sensorv1.Detection) bool { return true }

func TestAgentReports(t *testing.T) {
	a, err := startAgent(t.Context(), script(t, `
test "$*" = "--standalone --containerd-socket /s" || exit 3
trap 'echo "{\"detection\":{\"rule\":\"second\"}}"; exit 0' TERM
echo starting >&2
echo "ready: all hooks confirmed" >&2
echo '{"agent_id":"a","gap":{"class":"file_open","count":"2"}}'
echo '{"agent_id":"a","detection":{"rule":"first","new_field":1,"event":{"boot_time_ns":"7"}}}'
while :; do sleep 0.01; done
`), "/s")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.await(t.Context(), time.Minute, every); err != nil {
		t.Error(err)
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	got := a.detections(every)
	if len(got) != 2 || got[0].GetRule() != "first" || got[0].GetEvent().GetBootTimeNs() != 7 || got[1].GetRule() != "second" {
		t.Errorf("detections: %v, want first and, from the end, second", got)
	}
	if len(a.gaps()) != 1 {
		t.Errorf("gaps: %v", a.gaps())
	}
	if err := a.stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}

func TestAgentFails(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"before ready": {"echo no kernel here >&2; exit 1", "no kernel here"},
		"status":       {"echo ready >&2; exit 4", "exit status 4"},
		"no JSON":      {"echo ready >&2; echo hello", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := startAgent(t.Context(), script(t, c.text), "/s")
			if err == nil {
				<-a.process.Ended()
				err = a.stop()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}
