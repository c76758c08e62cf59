package tlsconf

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestJoinToken(t *testing.T) {
	token := NewJoinToken(Pin{1, 2, 3})
	text := token.Reveal()
	parsed, err := ParseJoinToken(text)
	if err != nil || parsed != token || parsed.Reveal() != text {
		t.Errorf("%s comes back as %s, %v", text, parsed.Reveal(), err)
	}
	id, hash, err := ParseProof(token.Proof())
	if err != nil || id != token.ID || hash != token.SecretHash() {
		t.Errorf("proof %s: id %s, %v", token.Proof(), id, err)
	}
	if len(token.Proof()) != MaxProof {
		t.Errorf("a proof has %d bytes, MaxProof is %d", len(token.Proof()), MaxProof)
	}
	if other := NewJoinToken(Pin{}); other.ID == token.ID || other.SecretHash() == token.SecretHash() {
		t.Error("two tokens are alike")
	}
}

func TestJoinTokenHidesItsSecret(t *testing.T) {
	token := NewJoinToken(Pin{})
	secret := strings.Split(token.Reveal(), ".")[2]
	encoded, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{string(encoded), token.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		printed = append(printed, fmt.Sprintf(verb, token), fmt.Sprintf(verb, &token), fmt.Sprintf(verb, struct{ T JoinToken }{token}))
	}
	for _, text := range printed {
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", token.secret)) || strings.Contains(text, fmt.Sprint(token.secret)) {
			t.Errorf("the secret is in %s", text)
		}
	}
}

func TestJoinTokenIsStrict(t *testing.T) {
	good := NewJoinToken(Pin{9}).Reveal()
	parts := strings.Split(good, ".")
	with := func(i int, part string) string {
		changed := append([]string(nil), parts...)
		changed[i] = part
		return strings.Join(changed, ".")
	}
	// The last character of 43 carries two bits that must be 0.
	other := func(part string) string {
		last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", part[42])
		return part[:42] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last+1])
	}
	for _, text := range []string{
		"", ".", "...", good + ".", good + "=", " " + good, good + "\n", good[1:], good[:len(good)-1],
		with(0, "seawall2"), with(1, ""), with(1, "0123456789ABCDEF"), with(1, "0123456789abcdeg"), with(1, parts[1]+"00"),
		with(2, ""), with(2, parts[2][1:]), with(2, parts[2]+"A"), with(2, parts[2][:42]+"\n"), with(2, parts[2][:42]+"+"),
		with(2, other(parts[2])), with(3, other(parts[3])), with(3, ""), strings.Repeat(".", 1<<20),
	} {
		token, err := ParseJoinToken(text)
		if err == nil {
			t.Errorf("%.100q is taken as %s", text, token)
		} else if strings.Contains(err.Error(), parts[2][:40]) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	for _, text := range []string{"", ".", parts[1], parts[1] + ".", parts[1] + "." + parts[2] + ".", good, "x." + parts[2], parts[1] + "." + other(parts[2])} {
		if _, _, err := ParseProof(text); err == nil {
			t.Errorf("proof %.100q is taken", text)
		}
	}
}

func FuzzParseJoinToken(f *testing.F) {
	token := NewJoinToken(Pin{})
	f.Add(token.Reveal())
	f.Add(token.Proof())
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := ParseJoinToken(text); err == nil && token.Reveal() != text {
			t.Errorf("%q comes back as %q", text, token.Reveal())
		}
		if id, _, err := ParseProof(text); err == nil && (len(text) != MaxProof || !strings.HasPrefix(text, id+".")) {
			t.Errorf("proof %q has the id %q", text, id)
		}
	})
}
