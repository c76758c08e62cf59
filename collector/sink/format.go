package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// JSON is a [Format]: the Alert message of the schema, names as there.
func JSON(dst []byte, r Revision) ([]byte, error) {
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r.Alert)
	if err != nil {
		return dst, fmt.Errorf("encode alert as JSON: %w", err)
	}
	// protojson varies its white space from build to build, so that nobody compares it.
	b := bytes.NewBuffer(dst)
	if err := json.Compact(b, loose); err != nil {
		return dst, fmt.Errorf("compact JSON of alert: %w", err)
	}
	return b.Bytes(), nil
}

// Summary is a [Format]: one line for a person. Nothing of the watched ends the line or
// reaches a terminal as it is.
func Summary(dst []byte, r Revision) ([]byte, error) {
	a := r.Alert
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", severityName(a.GetSeverity()), a.GetTitle())
	if a.GetRevision() > 1 {
		fmt.Fprintf(&b, " (revision %d)", a.GetRevision())
	}
	var where []string
	say := func(what, value string) {
		if value != "" {
			where = append(where, what+" "+value)
		}
	}
	if pod := a.GetAsset().GetContainer().GetPod(); pod.GetName() != "" {
		say("pod", pod.GetNamespace()+"/"+pod.GetName())
	}
	say("container", a.GetAsset().GetContainer().GetName())
	say("image", a.GetAsset().GetContainer().GetImage())
	say("node", a.GetAsset().GetNode())
	say("cluster", a.GetCluster())
	if len(where) > 0 {
		fmt.Fprintf(&b, " [%s]", strings.Join(where, ", "))
	}
	if a.GetSummary() != "" {
		fmt.Fprintf(&b, " %s", a.GetSummary())
	}
	line := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(b.String(), "\uFFFD"))
	return append(dst, line...), nil
}

// severityName is the schema's word without its prefix.
func severityName(s sensorv1.Severity) string {
	if name, ok := sensorv1.Severity_name[int32(s)]; ok && s != 0 {
		return strings.TrimPrefix(name, "SEVERITY_")
	}
	return "UNKNOWN"
}
