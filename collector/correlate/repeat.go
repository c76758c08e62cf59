package correlate

import (
	"slices"
	"strconv"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
)

// Somebody's monitor may enter containers by crictl every second. The first entries alike
// are told one by one, those that follow by one alert that counts them.

const (
	// repeatsTold are told one by one within repeatWithin. With as long a pause it begins anew.
	repeatsTold  = 3
	repeatWithin = time.Hour

	tagRepeated = "repeated"
)

// repeats is the anchor of entries like the session: of one command, with a terminal or
// without, by one sort of door into one workload, on one node.
func (s *session) repeats() string {
	words := []string{"entries", s.Cluster, s.Key.Agent, s.fact().workload(), strconv.FormatBool(s.TTY != ""), strconv.FormatBool(s.Past), strconv.FormatBool(s.Foreign)}
	return alert.Hash(append(words, s.Args...)...)
}

// isRepeat counts an entry with those alike, and reports whether enough of them were told.
func (m *Machine) isRepeat(s *session) bool {
	key := s.repeats()
	a := m.known(key)
	if a != nil && a.isRaised() {
		if s.Begun-a.Last <= int64(repeatWithin) {
			return true
		}
		m.close(a)
		a = nil
	}
	if a == nil {
		a = m.anchor(s.repeatIdentity(key), key, s.fact())
	}
	m.touchAnchor(a)
	a.Waiting = slices.DeleteFunc(a.Waiting, func(w *waitingFact) bool { return s.Begun-unixNano(w.Evidence.Time) > int64(repeatWithin) })
	if len(a.Waiting) == repeatsTold {
		a.Waiting = nil
		return true
	}
	a.Waiting = append(a.Waiting, &waitingFact{Evidence: s.cameIn()})
	return false
}

func (s *session) repeatIdentity(key string) alert.Identity {
	return alert.Identity{Kind: alert.KindEntry, Cluster: s.Cluster, AnchorKind: alert.AnchorSession, AnchorKey: s.Key.ID, Fingerprint: key}
}

// raiseRepeat counts an entry in the alert of those alike.
func (m *Machine) raiseRepeat(s *session) {
	key := s.repeats()
	m.raiseEntry(s, m.known(key).Identity, key, tagUnattributed, tagRepeated)
}

// explainRepeat counts one that turned out to have been asked for; when all were, the
// alert is taken back.
func (m *Machine) explainRepeat(s *session) {
	a := m.raised.get(s.Told)
	if a == nil {
		return
	}
	explained := s.Attribution != unattributed
	switch {
	case explained == s.Explained:
		return
	case explained:
		a.Explained++
	default:
		a.Explained--
	}
	s.Explained = explained
	m.movedSessions[s.Key] = true
	m.later(a, settle)
	m.explain(a, a.Explained >= facts(a.Alert))
}
