package enrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// TokenReviewer tells whose a Kubernetes service account token is.
type TokenReviewer interface {
	// Review returns an error that wraps ErrNotReviewed if it cannot tell; any
	// other says what is wrong with the token.
	Review(ctx context.Context, token string) (ServiceAccount, error)
}

// ErrNotReviewed says that a token could be good and the reviewer could not tell.
var ErrNotReviewed = errors.New("the token could not be reviewed")

// errNotOfPod refuses what people can make for themselves, and what cannot be taken back by
// deleting a pod.
var errNotOfPod = errors.New("it is not a service account's that is bound to a pod")

// ServiceAccount is who holds a token.
type ServiceAccount struct {
	Namespace string
	Name      string
	// Pod and Node that the token is bound to; empty where the cluster does not say.
	Pod  string
	Node string
}

func (s ServiceAccount) String() string { return s.Namespace + "/" + s.Name }

// KeyReviewer checks tokens by the public keys of a cluster's issuer, without
// asking the cluster: a token of a pod that was deleted meanwhile still holds
// until it expires, an hour as a rule.
type KeyReviewer struct {
	keys     jose.JSONWebKeySet
	issuer   string
	audience string
	now      func() time.Time
}

// Kubernetes signs with these; anything else, "none" first, is no token.
var serviceAccountAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

const clockLeeway = time.Minute

// NewKeyReviewer takes the key set as the API server has it at /openid/v1/jwks,
// the issuer as in /.well-known/openid-configuration, and the audience that
// agents' tokens are made for.
func NewKeyReviewer(jwks []byte, issuer, audience string, now func() time.Time) (*KeyReviewer, error) {
	if issuer == "" || audience == "" {
		return nil, errors.New("read service account keys: issuer and audience must be said")
	}
	r := &KeyReviewer{issuer: issuer, audience: audience, now: now}
	if err := json.Unmarshal(jwks, &r.keys); err != nil {
		return nil, fmt.Errorf("read service account keys: %w", err)
	}
	if len(r.keys.Keys) == 0 {
		return nil, errors.New("read service account keys: there is none in the set")
	}
	for i, key := range r.keys.Keys {
		if !key.Valid() || !key.IsPublic() {
			return nil, fmt.Errorf("read service account keys: number %d is no valid public key", i+1)
		}
	}
	return r, nil
}

// KeyFileReviewer is a [KeyReviewer] by the keys that a file has at the time: clusters
// change their keys.
type KeyFileReviewer struct {
	path, issuer, audience string
	now                    func() time.Time
}

// NewKeyFileReviewer takes what [NewKeyReviewer] does. It reads the file once, to tell of
// mistakes early.
func NewKeyFileReviewer(path, issuer, audience string, now func() time.Time) (*KeyFileReviewer, error) {
	r := &KeyFileReviewer{path: path, issuer: issuer, audience: audience, now: now}
	if _, err := r.load(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *KeyFileReviewer) load() (*KeyReviewer, error) {
	text, err := tlsconf.ReadFile(r.path)
	if err != nil {
		return nil, fmt.Errorf("read service account keys: %w", err)
	}
	return NewKeyReviewer(text, r.issuer, r.audience, r.now)
}

// Review implements TokenReviewer.
func (r *KeyFileReviewer) Review(ctx context.Context, token string) (ServiceAccount, error) {
	keys, err := r.load()
	if err != nil {
		return ServiceAccount{}, fmt.Errorf("%w: %w", ErrNotReviewed, err)
	}
	return keys.Review(ctx, token)
}

// claims that Kubernetes adds to the standard ones.
type claims struct {
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		ServiceAccount named  `json:"serviceaccount"`
		Pod            named  `json:"pod"`
		Node           named  `json:"node"`
	} `json:"kubernetes.io"`
}

type named struct {
	Name string `json:"name"`
}

// Review implements TokenReviewer.
func (r *KeyReviewer) Review(_ context.Context, token string) (ServiceAccount, error) {
	parsed, err := jwt.ParseSigned(token, serviceAccountAlgorithms)
	if err != nil {
		return ServiceAccount{}, errors.New("it is no signed token of a known kind")
	}
	if len(parsed.Headers) != 1 || parsed.Headers[0].KeyID == "" {
		return ServiceAccount{}, errors.New("it does not say which key signed it")
	}
	keys := r.keys.Key(parsed.Headers[0].KeyID)
	if len(keys) == 0 {
		return ServiceAccount{}, errors.New("it is signed with none of the configured keys")
	}
	var standard jwt.Claims
	var ours claims
	if err := parsed.Claims(keys[0].Key, &standard, &ours); err != nil {
		return ServiceAccount{}, errors.New("its signature or its claims are wrong")
	}
	if standard.Expiry == nil {
		return ServiceAccount{}, errors.New("it never expires: only tokens bound to a pod are taken")
	}
	expected := jwt.Expected{Issuer: r.issuer, AnyAudience: jwt.Audience{r.audience}, Time: r.now()}
	switch err := standard.ValidateWithLeeway(expected, clockLeeway); {
	case errors.Is(err, jwt.ErrExpired):
		return ServiceAccount{}, errors.New("it expired on " + standard.Expiry.Time().UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return ServiceAccount{}, fmt.Errorf("its issuer is %.200q, not %q", standard.Issuer, r.issuer)
	case errors.Is(err, jwt.ErrInvalidAudience):
		return ServiceAccount{}, fmt.Errorf("its audience is not %q", r.audience)
	case err != nil:
		return ServiceAccount{}, errors.New("it is not valid yet")
	}
	account := ServiceAccount{
		Namespace: ours.Kubernetes.Namespace, Name: ours.Kubernetes.ServiceAccount.Name,
		Pod: ours.Kubernetes.Pod.Name, Node: ours.Kubernetes.Node.Name,
	}
	if account.Pod == "" || standard.Subject != "system:serviceaccount:"+account.Namespace+":"+account.Name {
		return ServiceAccount{}, errNotOfPod
	}
	return account, nil
}
