package main

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/seawall-security/seawall/collector/agents"
	"github.com/seawall-security/seawall/collector/audit"
	"github.com/seawall-security/seawall/collector/bundle"
	"github.com/seawall-security/seawall/collector/config"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// management is the Management service: each package answers for what it owns.
type management struct {
	collectorv1.UnsafeManagementServer // a method that is missing does not compile
	*agents.Lister
	*bundle.Service
	*auditService
}

// auditService has a name of its own beside bundle's.
type auditService = audit.Service

// settingsOf are what agents are told; nil: nothing. The version is of the content, so
// the same settings have the same one on every collector and after every start.
func settingsOf(c config.Agents) *sensorv1.Settings {
	if c.Telemetry == "" {
		return nil
	}
	sum := sha256.Sum256([]byte("telemetry=" + c.Telemetry + "\n"))
	return &sensorv1.Settings{
		Version:   hex.EncodeToString(sum[:6]),
		Telemetry: sensorv1.Telemetry(slices.Index(config.Telemetries, c.Telemetry)) + sensorv1.Telemetry_TELEMETRY_NONE,
	}
}
