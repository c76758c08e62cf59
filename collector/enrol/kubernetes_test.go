package enrol

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	issuer   = "https://kubernetes.default.svc"
	audience = "seawall-collector"
)

func podClaims() map[string]any {
	return map[string]any{
		"iss": issuer, "aud": []string{audience, "other"}, "sub": "system:serviceaccount:seawall:agent",
		"iat": today.Unix(), "nbf": today.Unix(), "exp": today.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      "seawall",
			"serviceaccount": map[string]any{"name": "agent", "uid": "1"},
			"pod":            map[string]any{"name": "agent-x7", "uid": "2"},
			"node":           map[string]any{"name": "node-1", "uid": "3"},
		},
	}
}

// issueToken signs claims as an API server does.
func issueToken(t testing.TB, key any, algorithm jose.SignatureAlgorithm, id string, claims map[string]any) string {
	t.Helper()
	options := new(jose.SignerOptions)
	if id != "" {
		options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func keySet(t testing.TB, keys map[string]crypto.PublicKey) []byte {
	t.Helper()
	var set jose.JSONWebKeySet
	for id, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestKeyReviewer(t *testing.T) {
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, foreign := p256(t), p256(t)
	r, err := NewKeyReviewer(keySet(t, map[string]crypto.PublicKey{"rsa": modulus.Public(), "ec": curve.Public()}), issuer, audience, newClock().now)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) map[string]any {
		c := podClaims()
		c[name] = value
		if value == nil {
			delete(c, name)
		}
		return c
	}
	good := issueToken(t, modulus, jose.RS256, "rsa", podClaims())
	public, err := x509.MarshalPKIXPublicKey(modulus.Public())
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"rsa"}`)) + "." + strings.Split(good, ".")[1] + "."
	for _, test := range []struct{ name, token, want string }{
		{"RS256", good, ""},
		{"ES256", issueToken(t, curve, jose.ES256, "ec", podClaims()), ""},
		{"no signature", none, "no signed token"},
		{"public key as a secret", issueToken(t, public, jose.HS256, "rsa", podClaims()), "no signed token"},
		{"another's key", issueToken(t, foreign, jose.ES256, "ec", podClaims()), "signature"},
		{"key of another kind", issueToken(t, foreign, jose.ES256, "rsa", podClaims()), "signature"},
		{"unknown key", issueToken(t, foreign, jose.ES256, "new", podClaims()), "none of the configured keys"},
		{"no key named", issueToken(t, curve, jose.ES256, "", podClaims()), "which key"},
		{"other issuer", issueToken(t, curve, jose.ES256, "ec", with("iss", "https://evil")), "its issuer is"},
		{"other audience", issueToken(t, curve, jose.ES256, "ec", with("aud", issuer)), "its audience is not"},
		{"no audience", issueToken(t, curve, jose.ES256, "ec", with("aud", nil)), "its audience is not"},
		{"expired", issueToken(t, curve, jose.ES256, "ec", with("exp", today.Add(-2*time.Minute).Unix())), "expired on 2030-05-01T11:58:00Z"},
		{"without end", issueToken(t, curve, jose.ES256, "ec", with("exp", nil)), "never expires"},
		{"not yet", issueToken(t, curve, jose.ES256, "ec", with("nbf", today.Add(time.Hour).Unix())), "not valid yet"},
		{"other subject", issueToken(t, curve, jose.ES256, "ec", with("sub", "system:serviceaccount:seawall:other")), "not a service account's"},
		{"no pod", issueToken(t, curve, jose.ES256, "ec", with("kubernetes.io", map[string]any{
			"namespace": "seawall", "serviceaccount": map[string]any{"name": "agent"}})), "bound to a pod"},
		{"odd claims", issueToken(t, curve, jose.ES256, "ec", with("kubernetes.io", []int{1})), "claims are wrong"},
		{"cut", good[:len(good)-4], "signature"},
		{"garbage", "a.b.c", "no signed token"},
		{"nothing", "", "no signed token"},
	} {
		account, err := r.Review(t.Context(), test.token)
		if test.want == "" {
			want := ServiceAccount{Namespace: "seawall", Name: "agent", Pod: "agent-x7", Node: "node-1"}
			if err != nil || account != want {
				t.Errorf("%s: %+v, %v", test.name, account, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestNewKeyReviewerIsStrict(t *testing.T) {
	key := p256(t)
	good := keySet(t, map[string]crypto.PublicKey{"a": key.Public()})
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKeyReviewer(good, issuer, audience, newClock().now); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		jwks             []byte
		issuer, audience string
	}{
		{good, "", audience}, {good, issuer, ""}, {nil, issuer, audience}, {[]byte(`{"keys":[]}`), issuer, audience},
		{[]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`), issuer, audience}, {private, issuer, audience},
	} {
		if _, err := NewKeyReviewer(test.jwks, test.issuer, test.audience, newClock().now); err == nil {
			t.Errorf("taken: %s, %q, %q", test.jwks, test.issuer, test.audience)
		}
	}
}

func FuzzReview(f *testing.F) {
	key := p256(f)
	r, err := NewKeyReviewer(keySet(f, map[string]crypto.PublicKey{"ec": key.Public()}), issuer, audience, newClock().now)
	if err != nil {
		f.Fatal(err)
	}
	good := issueToken(f, key, jose.ES256, "ec", podClaims())
	f.Add(good)
	f.Fuzz(func(t *testing.T, token string) {
		// ECDSA signatures come in two forms each; the signed part has one.
		if account, err := r.Review(t.Context(), token); err == nil && (account.Name != "agent" || account.Namespace != "seawall") {
			t.Errorf("%s is let in by %q", account, token)
		}
	})
}
