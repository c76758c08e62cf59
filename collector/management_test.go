package main

import (
	"testing"

	"github.com/seawall-security/seawall/collector/config"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestSettingsOfTheConfiguration(t *testing.T) {
	if got := settingsOf(config.Agents{}); got != nil {
		t.Errorf("nothing is said, and %v sent", got)
	}
	versions := map[string]bool{}
	for word, want := range map[string]sensorv1.Telemetry{"none": sensorv1.Telemetry_TELEMETRY_NONE,
		"trees": sensorv1.Telemetry_TELEMETRY_TREES, "all": sensorv1.Telemetry_TELEMETRY_ALL} {
		got := settingsOf(config.Agents{Telemetry: word})
		if got.Telemetry != want || got.Version == "" || versions[got.Version] || got.Version != settingsOf(config.Agents{Telemetry: word}).Version {
			t.Errorf("%s: %v", word, got)
		}
		versions[got.Version] = true
	}
}
