package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/collector/config"
)

func TestNewReviewer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := func(string) string { return "" }
	inside := func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": "2001:db8::1", "KUBERNETES_SERVICE_PORT": "443"}[name]
	}
	if r, err := newReviewer(config.Kubernetes{}, outside); r != nil || err != nil {
		t.Errorf("none asked for: %v, %v", r, err)
	}
	for _, test := range []struct {
		settings config.Kubernetes
		getenv   func(string) string
		want     string
	}{
		{config.Kubernetes{Check: config.Keys, JWKSFile: file, Issuer: "i", Audience: "a"}, outside, "there is none in the set"},
		{config.Kubernetes{Check: config.Review, Audience: "a"}, outside, "this is no pod"},
		{config.Kubernetes{Check: config.Review, Audience: "a"}, inside, podFiles}, // which are not here
		{config.Kubernetes{Check: config.Review, Audience: "a", Server: "https://x", TokenFile: file, CAFile: file}, outside, file},
	} {
		if r, err := newReviewer(test.settings, test.getenv); r != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, %v: want %q", test.settings, r, err, test.want)
		}
	}
}
