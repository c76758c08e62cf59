package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ProcessID names a process for as long as anybody remembers it: the first 16
// bytes of SHA-256 over "process", boot id, tgid and start time, as hex.
func ProcessID(bootID string, k Key) string { return digest("process", bootID, k, 0) }

// SessionID names the tree that entered a container with the process k as its root.
func SessionID(bootID string, root Key) string { return digest("session", bootID, root, 0) }

// VisitID names the tree that the process root, of elsewhere, begins in a container: one
// process may visit several.
func VisitID(bootID string, root Key, container string) string {
	return digest("visit\x00"+container, bootID, root, 0)
}

// DetectionID names a rule's yes to what a process did at a time: the same act
// gives the same id, also after a restart of the agent.
func DetectionID(rule, bootID string, actor Key, at Boot) string {
	return digest("detection\x00"+rule, bootID, actor, at)
}

func digest(domain, bootID string, k Key, at Boot) string {
	b := make([]byte, 0, 128)
	b = append(b, domain...)
	b = append(b, 0)
	b = append(b, bootID...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, k.TGID)
	b = binary.BigEndian.AppendUint64(b, uint64(k.Start))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
