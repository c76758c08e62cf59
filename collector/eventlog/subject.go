package eventlog

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Shards is how many subjects a cluster's events are spread over. It is fixed:
// several collectors divide the work by it, and the audit log's side computes it too.
const Shards = 64

const subjectRoot = "seawall"

// Kind is what a message is about. Its word is the last part of the subject.
type Kind string

const (
	// Events are what an agent sent, of one shard: the zero Kind. Its word is the shard's number.
	Events Kind = ""
	// Tick is the collector's clock.
	Tick Kind = "tick"
	// Audit is what the cluster's audit sources brought, and how they are.
	Audit Kind = "audit"
)

// Subject is where a message belongs.
type Subject struct {
	Cluster string
	Kind    Kind
	// Shard is 0 to Shards-1; only of Events it has a meaning.
	Shard int
}

// ShardOf is the shard of a pod's events, or where there is no pod of a node's:
// FNV-1a of the cluster and the name, modulo Shards.
func ShardOf(cluster, podNamespace, pod, node string) int {
	h := fnv.New32a()
	name := node
	if pod != "" {
		name = podNamespace + "/" + pod
	}
	_, _ = h.Write([]byte(cluster + "\x00" + name)) // never fails
	return int(h.Sum32() % Shards)
}

// name is the subject in JetStream's terms. A cluster's name is free text; what a
// token may not hold is escaped.
func (s Subject) name() string {
	last := string(s.Kind)
	if s.Kind == Events {
		last = strconv.Itoa(s.Shard)
	}
	return subjectRoot + "." + escapeToken(s.Cluster) + "." + last
}

// parseSubject is the inverse of name.
func parseSubject(name string) (Subject, error) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 || parts[0] != subjectRoot {
		return Subject{}, fmt.Errorf("event log: subject %q is none of ours", name)
	}
	cluster, err := unescapeToken(parts[1])
	if err != nil {
		return Subject{}, fmt.Errorf("event log: subject %q: %w", name, err)
	}
	s := Subject{Cluster: cluster}
	switch kind := Kind(parts[2]); kind {
	case Tick, Audit:
		s.Kind = kind
		return s, nil
	}
	if s.Shard, err = strconv.Atoi(parts[2]); err != nil || s.Shard < 0 || s.Shard >= Shards {
		return Subject{}, fmt.Errorf("event log: subject %q has neither kind nor shard", name)
	}
	return s, nil
}

// escapeToken writes each byte that is no letter, digit, - or _ as =XX; the empty
// text is a lone =.
func escapeToken(text string) string {
	if text == "" {
		return "="
	}
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

func unescapeToken(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("token %q ends within an escape", token)
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("token %q: %w", token, err)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}
