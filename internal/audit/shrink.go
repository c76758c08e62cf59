package audit

import (
	"math/bits"
	"strconv"
	"strings"
)

const (
	// shortText is what no text is left out below: names, paths and images are shorter.
	shortText = 256
	// longKey is longer than any name of a field, label or annotation.
	longKey = 512
	// Of lists and objects so many parts are kept, at first and at last.
	manyParts, fewParts = 8192, 16
)

// left says what of a body was left out.
type left struct{ omitted, shortened uint64 }

func (l *left) add(other left) {
	l.omitted, l.shortened = l.omitted+other.omitted, l.shortened+other.shortened
}

// shrink makes JSON fit into most bytes: the longest texts go first, each for a note. Where
// that is not enough, lists and objects are cut to fewer and fewer parts; of objects the
// fields that rules and joins read stay. kept is nil if even that does not fit. It works on
// the text as it is, so memory is bounded by most. raw is valid JSON.
func shrink(raw []byte, most int) (kept []byte, gone left) {
	if len(raw) <= most {
		return raw, left{}
	}
	s := shrinker{in: raw, most: most, text: longest(raw, most), parts: len(raw)}
	if s.text < shortText {
		s.text, s.parts = shortText, manyParts
	}
	for {
		s.out, s.gone, s.full = s.out[:0], left{}, false
		if s.value(0); !s.full {
			return s.out, s.gone
		}
		if s.parts = min(s.parts, manyParts) / 2; s.parts < fewParts {
			return nil, left{omitted: uint64(len(raw))}
		}
	}
}

// longest is how long texts may be for all to fit, as a power of two; below [shortText]:
// they are too many.
func longest(raw []byte, most int) int {
	var count, bytes [64]int // of texts by the bits of their length
	for at := 0; at < len(raw); at++ {
		if raw[at] == '"' {
			n, _ := skipString(raw[at:])
			count[bits.Len(uint(n-2))]++
			bytes[bits.Len(uint(n-2))] += n
			at += n - 1
		}
	}
	size := len(raw)
	for i := len(count) - 1; i > bits.Len(shortText-1); i-- {
		if size += count[i]*len(note(len(raw))) - bytes[i]; size <= most {
			return 1 << (i - 1)
		}
	}
	return 0
}

func note(n int) string { return `"[` + strconv.Itoa(n) + ` bytes left out]"` }

type shrinker struct {
	in, out []byte
	most    int // out is of no use beyond it
	text    int // texts as long are left out
	parts   int // so many are kept of a list or object
	gone    left
	full    bool
}

func (s *shrinker) write(part ...byte) {
	if s.full = s.full || len(s.out)+len(part) > s.most; !s.full {
		s.out = append(s.out, part...)
	}
}

// value writes the value at a place, and returns where it ends.
func (s *shrinker) value(at int) (end int) {
	at = s.blank(at)
	switch s.in[at] {
	case '{', '[':
		return s.list(at)
	case '"':
		n, _ := skipString(s.in[at:])
		if n-2 >= s.text {
			s.gone.shortened += uint64(n - 2)
			s.write([]byte(note(n - 2))...)
		} else {
			s.write(s.in[at : at+n]...)
		}
		return at + n
	}
	for end = at; end < len(s.in) && !strings.ContainsRune(",]}"+blanks, rune(s.in[end])); end++ {
	}
	s.write(s.in[at:end]...)
	return end
}

// list writes a list or an object.
func (s *shrinker) list(at int) (end int) {
	object, closing := s.in[at] == '{', s.in[at]+2 // of both
	s.write(s.in[at])
	at = s.blank(at + 1)
	for seen, written := 0, 0; s.in[at] != closing; seen++ {
		keep := seen < s.parts
		if object {
			n, _ := skipString(s.in[at:])
			keep = n-2 <= longKey && (keep || fields[string(s.in[at+1:at+n-1])])
		}
		if !keep {
			n := s.part(at)
			s.gone.omitted += uint64(n)
			at += n
		} else {
			if written++; written > 1 {
				s.write(',')
			}
			if object {
				n, _ := skipString(s.in[at:])
				s.write(s.in[at : at+n]...)
				s.write(':')
				at = s.blank(at+n) + 1
			}
			at = s.blank(s.value(at))
		}
		if s.full {
			return len(s.in)
		}
		if s.in[at] == ',' {
			at = s.blank(at + 1)
		}
	}
	s.write(closing)
	return at + 1
}

// part is how long an item of a list or a field of an object is, up to what ends it.
func (s *shrinker) part(at int) (n int) {
	for depth := 0; ; n++ {
		switch s.in[at+n] {
		case '"':
			length, _ := skipString(s.in[at+n:])
			n += length - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return n
			}
		case ',':
			if depth == 0 {
				return n
			}
		}
	}
}

func (s *shrinker) blank(at int) int {
	for at < len(s.in) && strings.IndexByte(blanks, s.in[at]) >= 0 {
		at++
	}
	return at
}

// fields are those that tell what an object is and does: an object that was made large keeps
// them.
var fields = func() map[string]bool {
	known := make(map[string]bool)
	for name := range strings.FieldsSeq(`
		apiVersion kind metadata name generateName namespace uid ownerReferences labels annotations
		op path from value code reason
		spec template jobTemplate schedule items object containers initContainers ephemeralContainers volumes
		image command args env securityContext windowsOptions hostProcess privileged allowPrivilegeEscalation capabilities add
		procMount runAsUser seccompProfile appArmorProfile type hostPID hostNetwork hostIPC hostUsers hostPath hostPort ports
		volumeMounts volumeDevices mountPath subPath readOnly nodeName serviceAccount serviceAccountName
		lifecycle postStart preStop livenessProbe readinessProbe startupProbe exec
		roleRef subjects rules aggregationRule verbs resources apiGroups resourceNames nonResourceURLs
		webhooks clientConfig url service failurePolicy namespaceSelector objectSelector
		externalIPs selector insecureSkipTLSVerify request signerName expirationSeconds username groups status
		Corefile mapRoles mapUsers local nfs csi`) {
		known[name] = true
	}
	return known
}()
