package uplink

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/obs"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// maxVersionBytes is far above any version's name.
const maxVersionBytes = 256

// take does what one message asks, and returns the answer, if there is one. Messages
// that this version does not know are a newer collector's and let go. An error ends the
// stream.
func (s *session) take(m *sensorv1.ToAgent) (*sensorv1.Applied, error) {
	switch body := m.GetBody().(type) {
	case *sensorv1.ToAgent_Welcome:
		return nil, fmt.Errorf("%w: a second Welcome", errProtocol)
	case *sensorv1.ToAgent_Ack:
		switch p := body.Ack.GetPosition(); p.GetLane() {
		case sensorv1.Lane_LANE_DETECTIONS:
			return nil, s.detections.ack(p)
		case sensorv1.Lane_LANE_TELEMETRY:
			return nil, s.telemetry.ack(p)
		default:
			return nil, fmt.Errorf("%w: it acknowledges lane %d", errProtocol, p.GetLane())
		}
	case *sensorv1.ToAgent_Bundle:
		return answer(sensorv1.Part_PART_BUNDLE, "", "not supported yet"), nil
	case *sensorv1.ToAgent_Settings:
		return answer(sensorv1.Part_PART_SETTINGS, body.Settings.GetVersion(), s.uplink.apply(body.Settings)), nil
	}
	return nil, nil
}

func answer(part sensorv1.Part, version, problem string) *sensorv1.Applied {
	if len(version) > maxVersionBytes {
		version, problem = "", fmt.Sprintf("the version's name has more than %d bytes", maxVersionBytes)
	}
	return &sensorv1.Applied{Part: part, Version: version, Error: problem}
}

// apply puts settings in force, all of them or none, and says why not. What is not
// said in them stays.
func (u *Uplink) apply(m *sensorv1.Settings) (problem string) {
	mode := *u.mode.Load()
	switch m.GetTelemetry() {
	case sensorv1.Telemetry_TELEMETRY_UNSPECIFIED:
	case sensorv1.Telemetry_TELEMETRY_NONE:
		mode = None
	case sensorv1.Telemetry_TELEMETRY_TREES:
		mode = Trees
	case sensorv1.Telemetry_TELEMETRY_ALL:
		mode = All
	default:
		return fmt.Sprintf("telemetry %d is not known to this version", m.GetTelemetry())
	}
	version := m.GetVersion()
	if len(version) > maxVersionBytes {
		return "the version's name is too long"
	}
	u.mode.Store(&mode)
	u.settings.Store(&version)
	u.log.Info("settings applied", zap.String(obs.FieldVersion, version), zap.String("telemetry", string(mode)))
	return ""
}
