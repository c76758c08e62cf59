package uplink

import (
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// afar are the settings that came from afar, and what follows from them. They never change.
type afar struct {
	said *sensorv1.Settings // all that was ever said, under the last version
	mode Telemetry
}

// follow is said on top of what the agent was told where it runs.
func (u *Uplink) follow(said *sensorv1.Settings) (*afar, error) {
	a := &afar{said: said, mode: u.options.Telemetry}
	switch said.GetTelemetry() {
	case sensorv1.Telemetry_TELEMETRY_UNSPECIFIED:
	case sensorv1.Telemetry_TELEMETRY_NONE:
		a.mode = None
	case sensorv1.Telemetry_TELEMETRY_TREES:
		a.mode = Trees
	case sensorv1.Telemetry_TELEMETRY_ALL:
		a.mode = All
	default:
		return nil, fmt.Errorf("telemetry %d is not known to this version", said.GetTelemetry())
	}
	if len(said.GetVersion()) > maxVersionBytes {
		return nil, errors.New("the version's name is too long")
	}
	return a, nil
}

// restore puts the settings in force that were kept. Where they cannot be used, the
// agent does what it was told where it runs.
func (u *Uplink) restore() {
	u.settings.Store(&afar{said: &sensorv1.Settings{}, mode: u.options.Telemetry})
	said, err := u.kept()
	if said == nil && err == nil {
		return
	}
	var a *afar
	if err == nil {
		a, err = u.follow(said)
	}
	if err != nil {
		u.log.Warn("settings that were kept are not in force: send them again", zap.Error(err))
		return
	}
	u.settings.Store(a)
	u.log.Info("settings kept", zap.String(obs.FieldVersion, said.GetVersion()), zap.String("telemetry", string(a.mode)))
}

// kept reads the settings that were in force last; nil: there are none.
func (u *Uplink) kept() (*sensorv1.Settings, error) {
	if u.options.SettingsFile == "" {
		return nil, nil
	}
	data, err := tlsconf.ReadFile(u.options.SettingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	said := &sensorv1.Settings{}
	if err := proto.Unmarshal(data, said); err != nil {
		return nil, fmt.Errorf("read settings: %s: %w", u.options.SettingsFile, err)
	}
	return said, nil
}

// apply keeps settings and puts them in force, all of them or none, and says why not.
// What is not said in them stays.
func (u *Uplink) apply(m *sensorv1.Settings) (problem string) {
	said := &sensorv1.Settings{Version: m.GetVersion(), Telemetry: m.GetTelemetry()}
	if said.Telemetry == sensorv1.Telemetry_TELEMETRY_UNSPECIFIED {
		said.Telemetry = u.settings.Load().said.GetTelemetry()
	}
	a, err := u.follow(said)
	if err != nil {
		return err.Error()
	}
	if err := u.keep(said); err != nil {
		return err.Error()
	}
	u.settings.Store(a)
	u.log.Info("settings applied", zap.String(obs.FieldVersion, said.GetVersion()), zap.String("telemetry", string(a.mode)))
	return ""
}

func (u *Uplink) keep(said *sensorv1.Settings) error {
	if u.options.SettingsFile == "" {
		return nil
	}
	data, err := proto.Marshal(said)
	if err != nil {
		return fmt.Errorf("keep settings: %w", err)
	}
	if err := tlsconf.WriteSecret(u.options.SettingsFile, data); err != nil {
		return fmt.Errorf("keep settings: %w", err)
	}
	return nil
}
