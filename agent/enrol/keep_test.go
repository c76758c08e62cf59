package enrol

import (
	"bytes"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

func testLog(t *testing.T) *zap.Logger { return zaptest.NewLogger(t) }

func someState(t testing.TB) *state {
	t.Helper()
	ca := newAuthority(t)
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &state{key: key, redactionKey: bytes.Repeat([]byte{7}, 32)}
	s.chain = append(s.chain, ca.leaf(t, "seawall://prod/agent/"+firstID, key.Public(), today, today.Add(time.Hour)))
	s.roots = append(s.roots, ca.certificate)
	return s
}

func TestStateComesBack(t *testing.T) {
	s := someState(t)
	text, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := parseState(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.encode()
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("comes back as %s, %v", again, err)
	}
	if back.identity.Name != firstID {
		t.Errorf("identity %v", back.identity)
	}
	// Cut anywhere, also between two blocks, it is not the state.
	for i := range len(text) - 1 {
		if _, err := parseState(text[:i]); err == nil {
			t.Errorf("the first %d bytes of %d are a state", i, len(text))
		}
	}
	for name, text := range map[string][]byte{
		"text behind":   append(bytes.Clone(text), "x"...),
		"another block": append(bytes.Clone(text), "-----BEGIN X-----\nAAAA\n-----END X-----\n"...),
		"another's key": replaceKey(t, s),
	} {
		if _, err := parseState(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func replaceKey(t *testing.T, s *state) []byte {
	t.Helper()
	other := *s
	var err error
	if other.key, err = newKey(); err != nil {
		t.Fatal(err)
	}
	text, err := other.encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func FuzzParseState(f *testing.F) {
	text, err := someState(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(tlsconf.EncodeCertificates(newAuthority(f).certificate))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseState(text)
		if err != nil {
			return
		}
		if s.identity.Role != tlsconf.Agent || s.material().Certificate == nil {
			t.Errorf("%v counts", s.identity)
		}
		if _, err := s.encode(); err != nil {
			t.Error(err)
		}
	})
}
