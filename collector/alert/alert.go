// Package alert owns alerts: what one is, how it is named, how much evidence it
// carries, and the rows it is kept in.
//
// An alert is one incident. It has revisions, each of which is stored and delivered
// once; [Book] keeps the latest revision of each alert, and every revision under a
// position over which readers move their cursors. Who decides that there is an alert is
// collector/correlate.
//
// A message that a function here was given to change is the caller's, and is changed in
// place; one that the book returned is the caller's too.
package alert

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"unicode/utf8"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Kinds of alerts.
const (
	KindWebShell  = "web-shell"
	KindEscape    = "escape"
	KindDetection = "detection"
	KindAudit     = "audit" // of requests to the Kubernetes API
	KindEntry     = "entry" // into a container, past that API
	KindGap       = "gap"   // of the collector's own: something was lost for good, or is not seen
)

// Kinds of anchors.
const (
	AnchorProcess   = "process"
	AnchorSession   = "session"
	AnchorContainer = "container"
	AnchorUser      = "user"
	AnchorObject    = "object"
	AnchorLog       = "log"
)

// Identity is what all episodes of an alert have in common. The same facts give the
// same identity, whenever and in whatever order they come.
type Identity struct {
	Kind    string
	Cluster string
	// AnchorKind and AnchorKey name the anchor as Alert.anchor does.
	AnchorKind string
	AnchorKey  string
	// Fingerprint tells apart alerts of one kind and anchor: of a web-shell the
	// container, of a detection what its repeats share (see [Fingerprint]).
	Fingerprint string
}

// String is 32 hex digits.
func (i Identity) String() string {
	return Hash("identity", i.Kind, i.Cluster, i.AnchorKind, i.AnchorKey, i.Fingerprint)
}

// ID names one episode, from 1: 32 hex digits.
func (i Identity) ID(episode uint32) string {
	return Hash("alert", i.String(), string(binary.BigEndian.AppendUint32(nil, episode)))
}

// Fingerprint is what repeats of a detection share: the rule, what runs (a workload, not
// one of its replicas) and the executable. They are one alert.
func Fingerprint(rule, workload, executable string) string {
	return Hash("fingerprint", rule, workload, executable)
}

// Hash is the first 16 bytes of SHA-256 over the words, each behind its length, as hex.
func Hash(words ...string) string {
	b := make([]byte, 0, 256)
	for _, word := range words {
		b = binary.BigEndian.AppendUint32(b, uint32(len(word)))
		b = append(b, word...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Cut shortens text to at most n bytes, at the border of a character, and says so at its end.
func Cut(text string, n int) string {
	const mark = "…"
	if len(text) <= n {
		return text
	}
	end := n - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// namespace is the Kubernetes namespace of what the alert is about, "" outside of one.
func namespace(a *alertv1.Alert) string { return a.GetAsset().GetContainer().GetPod().GetNamespace() }
