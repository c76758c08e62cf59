package sink

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// sdID names our structured data. 32473 is the number that RFC 5612 keeps for examples:
// we have none of our own.
const sdID = "seawall@32473"

// utf8Mark stands before text that is UTF-8 and not ASCII: RFC 5424 wants it.
const utf8Mark = "\ufeff"

// Longest parts of a message's head, RFC 5424 section 6.
const (
	maxHostname = 255
	maxAppName  = 48
	maxMsgID    = 32
	// maxParam is ours: it keeps the structured data well below the smallest message limit.
	maxParam = 255
)

// syslogMessage is a message of RFC 5424. Its parts are text of whoever was watched, so
// each is made to fit its place.
type syslogMessage struct {
	facility, severity int
	time               time.Time
	hostname, app      string
	msgID              string
	params             []syslogParam // the most important first
	text               []byte        // UTF-8
}

type syslogParam struct{ name, value string }

// append appends the message, which has at most limit bytes: parameters that would take
// more than half of it are left out, and the text is cut.
func (m *syslogMessage) append(dst []byte, limit int) []byte {
	begin := len(dst)
	stamp := "-"
	if !m.time.IsZero() {
		stamp = m.time.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	dst = fmt.Appendf(dst, "<%d>1 %s %s %s - %s ", m.facility*8+m.severity, stamp,
		printable(m.hostname, maxHostname), printable(m.app, maxAppName), printable(m.msgID, maxMsgID))
	element := "[" + sdID
	for _, p := range m.params {
		param := " " + p.name + `="` + escapeParam(p.value) + `"`
		if p.value != "" && len(dst)-begin+len(element)+len(param)+1 <= max(limit/2, minDatagram) {
			element += param
		}
	}
	dst = append(dst, element...)
	dst = append(dst, ']')
	text := cut(m.text, limit-(len(dst)-begin)-len(" "+utf8Mark))
	if len(text) == 0 {
		return dst
	}
	dst = append(dst, ' ')
	if !ascii(text) {
		dst = append(dst, utf8Mark...)
	}
	return append(dst, text...)
}

// printable is text as a field of the head: visible ASCII, or - where nothing is left.
func printable(text string, limit int) string {
	var b strings.Builder
	for _, c := range text {
		if b.Len() == limit {
			break
		}
		if c > ' ' && c < 0x7f {
			b.WriteByte(byte(c))
		} else {
			b.WriteByte('_')
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

// escapeParam escapes what ends a value. Control characters have no business in one.
func escapeParam(value string) string {
	var b strings.Builder
	for _, c := range string(cut([]byte(strings.ToValidUTF8(value, "\uFFFD")), maxParam)) {
		switch {
		case c == '"' || c == '\\' || c == ']':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x7f:
			b.WriteByte(' ')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func ascii(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// cut is text without what is behind limit bytes, and without half a character.
func cut(text []byte, limit int) []byte {
	if len(text) <= limit {
		return text
	}
	limit = max(limit, 0)
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// syslogSeverity is our severity in RFC 5424's numbers: critical, error, warning, notice,
// informational.
func syslogSeverity(s sensorv1.Severity) int {
	switch s {
	case sensorv1.Severity_SEVERITY_CRITICAL:
		return 2
	case sensorv1.Severity_SEVERITY_HIGH:
		return 3
	case sensorv1.Severity_SEVERITY_MEDIUM:
		return 4
	case sensorv1.Severity_SEVERITY_LOW:
		return 5
	}
	return 6
}

// syslogParams are what a receiver routes, joins and drops repeats by.
func syslogParams(a *alertv1.Alert, position uint64) []syslogParam {
	c := a.GetAsset().GetContainer()
	return []syslogParam{
		{"id", a.GetId()},
		{"revision", strconv.FormatUint(uint64(a.GetRevision()), 10)},
		{"kind", a.GetKind()},
		{"severity", strings.ToLower(severityName(a.GetSeverity()))},
		{"position", strconv.FormatUint(position, 10)},
		{"cluster", a.GetCluster()},
		{"node", a.GetAsset().GetNode()},
		{"namespace", c.GetPod().GetNamespace()},
		{"pod", c.GetPod().GetName()},
		{"container", c.GetName()},
		{"container_id", c.GetId()},
		{"image", c.GetImage()},
		{"techniques", strings.Join(a.GetTechniques(), ",")},
	}
}
