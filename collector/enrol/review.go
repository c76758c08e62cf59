package enrol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// APIReviewer asks the cluster's API server about each token. One of a pod or an account
// that was deleted holds no more, but for the ten seconds that API servers remember a good
// answer.
type APIReviewer struct {
	endpoint string
	audience string
	token    string // the file
	client   *http.Client
}

// APIServer is where tokens are reviewed, and by what right.
type APIServer struct {
	// URL is https.
	URL string
	// TokenFile has the collector's own token, which may create tokenreviews; Roots is
	// the file of CAs that the server may come from. Both are read when they are needed:
	// the kubelet renews the one, and clusters change the other.
	TokenFile string
	Roots     string
}

const (
	reviewTimeout = 10 * time.Second
	// An answer repeats the token and names the account's groups: some 2 KiB.
	maxReview       = 256 << 10
	maxReviewHeader = 16 << 10
	// Strangers make us ask: no more than so much of the API server at a time.
	reviewConnections = 8
)

// NewAPIReviewer returns a reviewer of tokens that agents' tokens are made for by audience.
// It reads both files once, to tell of mistakes early, and asks nobody.
func NewAPIReviewer(at APIServer, audience string) (*APIReviewer, error) {
	base, err := url.Parse(at.URL)
	switch {
	case err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("review service account tokens: the API server's URL must be https://host:port")
	case audience == "":
		return nil, errors.New("review service account tokens: the audience must be said")
	}
	if _, err := tlsconf.LoadRoots(at.Roots); err != nil {
		return nil, fmt.Errorf("review service account tokens: %w", err)
	}
	if _, err := tlsconf.ReadFile(at.TokenFile); err != nil {
		return nil, fmt.Errorf("review service account tokens: read own token: %w", err)
	}
	transport := &http.Transport{ // no proxy: the tokens are for the API server only
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialAPI(ctx, network, address, at.Roots)
		},
		MaxConnsPerHost:        reviewConnections,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxReviewHeader,
		DisableCompression:     true,
	}
	return &APIReviewer{
		endpoint: base.JoinPath("apis", "authentication.k8s.io", "v1", "tokenreviews").String(), audience: audience, token: at.TokenFile,
		client: &http.Client{
			Transport: transport, Timeout: reviewTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func dialAPI(ctx context.Context, network, address, file string) (net.Conn, error) {
	roots, err := tlsconf.LoadRoots(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}}
	return dialer.DialContext(ctx, network, address)
}

// tokenReview is authentication.k8s.io/v1 TokenReview, as far as it matters here.
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status"`
}

const (
	reviewVersion = "authentication.k8s.io/v1"
	reviewKind    = "TokenReview"
)

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type reviewStatus struct {
	Authenticated bool `json:"authenticated"`
	User          struct {
		Username string              `json:"username"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
	Audiences []string `json:"audiences"`
	Error     string   `json:"error"`
}

// Review implements TokenReviewer.
func (r *APIReviewer) Review(ctx context.Context, token string) (ServiceAccount, error) {
	body, err := r.ask(ctx, token)
	if err != nil {
		return ServiceAccount{}, fmt.Errorf("%w: %w", ErrNotReviewed, err)
	}
	return readReview(body, r.audience)
}

// ask posts a token and returns the answer's body.
func (r *APIReviewer) ask(ctx context.Context, token string) ([]byte, error) {
	own, err := tlsconf.ReadFile(r.token)
	if err != nil {
		return nil, fmt.Errorf("read own token: %w", err)
	}
	question, err := json.Marshal(tokenReview{
		APIVersion: reviewVersion, Kind: reviewKind, Spec: reviewSpec{Token: token, Audiences: []string{r.audience}},
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(own)))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK, http.StatusCreated:
	case http.StatusUnauthorized:
		return nil, errors.New("the API server does not take the collector's own token (HTTP 401)")
	case http.StatusForbidden:
		return nil, errors.New("the collector may not create tokenreviews: its account needs the cluster role system:auth-delegator (HTTP 403)")
	default:
		return nil, fmt.Errorf("the API server answers HTTP %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxReview+1))
	if err != nil {
		return nil, fmt.Errorf("read the API server's answer: %w", err)
	}
	if len(body) > maxReview {
		return nil, fmt.Errorf("the API server's answer has more than %d bytes", maxReview)
	}
	return body, nil
}

// readReview says whose a token is by the API server's answer.
func readReview(body []byte, audience string) (ServiceAccount, error) {
	var review tokenReview
	if err := json.Unmarshal(body, &review); err != nil {
		return ServiceAccount{}, fmt.Errorf("%w: read the API server's answer: %w", ErrNotReviewed, err)
	}
	if review.APIVersion != reviewVersion || review.Kind != reviewKind {
		return ServiceAccount{}, fmt.Errorf("%w: the API server's answer is no %s of %s", ErrNotReviewed, reviewKind, reviewVersion)
	}
	s := review.Status
	if !s.Authenticated {
		return ServiceAccount{}, fmt.Errorf("the API server does not know it: %.200q", s.Error)
	}
	// A server that knows no audiences says nothing of them, and takes every token.
	if !slices.Contains(s.Audiences, audience) {
		return ServiceAccount{}, fmt.Errorf("its audience is not %q", audience)
	}
	account := ServiceAccount{
		Pod:  only(s.User.Extra["authentication.kubernetes.io/pod-name"]),
		Node: only(s.User.Extra["authentication.kubernetes.io/node-name"]),
	}
	holder, isAccount := strings.CutPrefix(s.User.Username, "system:serviceaccount:")
	account.Namespace, account.Name, _ = strings.Cut(holder, ":")
	if !isAccount || account.Namespace == "" || account.Name == "" || account.Pod == "" {
		return ServiceAccount{}, errNotOfPod
	}
	return account, nil
}

func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
