// Package apiserver sends plain requests to a Kubernetes API server as the user of a
// kubeconfig, whatever way of proving who he is that has: certificates, tokens, or the
// programs that cloud providers bring.
package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// maxAnswerBytes is as much of an answer as is kept.
	maxAnswerBytes = 1 << 20
	// timeout bounds a request: what is asked here is quickly answered.
	timeout = 15 * time.Second
)

// Client sends requests to one API server. It may be used by several goroutines.
type Client struct {
	// Server is the API server's address.
	Server string
	// Namespace is the one the kubeconfig chooses.
	Namespace string

	user     *http.Client
	stranger *http.Client // the same way there, without saying who we are
}

// New reads a kubeconfig: path, or if that is empty those of KUBECONFIG, or ~/.kube/config,
// or a pod's own account. Empty name: its current context.
func New(path, name string) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: name})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.Timeout = timeout
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	c := &Client{Server: strings.TrimSuffix(base.String(), "/"), Namespace: namespace}
	if c.user, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("prepare requests to %s: %w", c.Server, err)
	}
	if c.stranger, err = rest.HTTPClientFor(rest.AnonymousClientConfig(config)); err != nil {
		return nil, fmt.Errorf("prepare requests to %s: %w", c.Server, err)
	}
	return c, nil
}

// Request is one to send.
type Request struct {
	// Path begins with / and may have a query.
	Method, Path string
	// Body is JSON; empty: none.
	Body string
	// Token is shown instead of what the kubeconfig has; empty: that.
	Token string
}

// Do sends a request as the kubeconfig's user and returns the answer's code and the
// beginning of its body.
func (c *Client) Do(ctx context.Context, r Request) (code int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, r.Method, c.Server+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Accept", "application/json")
	switch {
	case r.Method == http.MethodPatch:
		request.Header.Set("Content-Type", "application/merge-patch+json")
	case r.Body != "":
		request.Header.Set("Content-Type", "application/json")
	}
	client := c.user
	if r.Token != "" {
		client = c.stranger
		request.Header.Set("Authorization", "Bearer "+r.Token)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	return answer.StatusCode, body, nil
}
