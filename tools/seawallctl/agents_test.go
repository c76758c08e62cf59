package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestAgentLine(t *testing.T) {
	at := timestamppb.New(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	hooks := []*sensorv1.Hook{{Rung: "lsm", Confirmed: true}, {Rung: "lsm", Confirmed: true}, {Rung: "syscall"}, {Rung: "\x1b", Confirmed: true}, {}}
	for name, test := range map[string]struct {
		agent *collectorv1.Agent
		want  string
	}{
		"whole": {&collectorv1.Agent{Node: "node-1", Id: "a", Version: "v1", Kernel: "6.1", LastSeen: at, Hooks: hooks,
			Status: &sensorv1.AgentStatus{SpoolBytes: 3 << 19, OldestWaiting: durationpb.New(90 * time.Second), BundleSerial: 7, BundleVersion: "v7"}},
			"node-1|a|v1|6.1|2026-11-21 12:00:00.000|2 lsm, 1 syscall, 1 other, 1 UNCONFIRMED, 1 MISSING|1.5 MiB|1m30s|7 v7|-"},
		"with nothing to say yet": {&collectorv1.Agent{Node: "node-1", Id: "a", LastSeen: at}, "node-1|a|||2026-11-21 12:00:00.000|?|?|?|-|-"},
		"idle":                    {&collectorv1.Agent{LastSeen: at, Status: &sensorv1.AgentStatus{}}, "||||2026-11-21 12:00:00.000|?|0 B|-|-|-"},
		"failing": {&collectorv1.Agent{LastSeen: at, BundleError: "no signature", SettingsError: "not known"},
			"||||2026-11-21 12:00:00.000|?|?|?|-|bundle: no signature; settings: not known"},
	} {
		if got := strings.ReplaceAll(agentLine(test.agent), "\t", "|"); got != test.want {
			t.Errorf("%s:\n%s\n%s", name, got, test.want)
		}
	}
}

// An agent that was taken over does not reach the operator's terminal, nor other rows.
func TestAgentLineBelievesNoText(t *testing.T) {
	evil := "\x1b[2J\r\n\t\u202eab\xff" + strings.Repeat("x", 5000)
	line := agentLine(&collectorv1.Agent{Node: evil, Id: evil, Version: evil, Kernel: evil, BundleError: evil, SettingsError: evil,
		Hooks: []*sensorv1.Hook{{Rung: evil, Name: evil, Reason: evil}}, Status: &sensorv1.AgentStatus{BundleSerial: 1, BundleVersion: evil, SpoolBytes: 1 << 63}})
	if strings.ContainsAny(line, "\x1b\r\n\u202e") || !utf8.ValidString(line) || strings.Count(line, "\t") != 9 || len(line) > 1500 {
		t.Errorf("reaches the terminal: %q", line)
	}
}
