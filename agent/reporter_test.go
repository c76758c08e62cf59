package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/agent/config"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

func TestJoinToken(t *testing.T) {
	token := tlsconf.NewJoinToken(tlsconf.Pin{1})
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]config.Collector{"in the configuration": {JoinToken: token.Reveal()}, "in a file": {JoinTokenFile: path}} {
		if got, err := joinToken(c); err != nil || got == nil || *got != token {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := joinToken(config.Collector{}); got != nil || err != nil {
		t.Errorf("none: %v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte(token.Reveal()[:60]), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(token.Reveal(), ".")[2]
	for name, file := range map[string]string{"damaged": path, "missing": path + "-"} {
		_, err := joinToken(config.Collector{JoinTokenFile: file})
		if err == nil || strings.Contains(err.Error(), secret[:20]) || !strings.Contains(err.Error(), "read join token") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An agent without a collector goes its way.
func TestNoReporter(t *testing.T) {
	r, err := openReporter(config.Default(), nil, "", nil, nil, nil)
	if r != nil || err != nil {
		t.Fatalf("%v, %v", r, err)
	}
	r.watch(nil)
	r.register(nil)
	r.begin()
	r.run(t.Context(), t.Context(), nil)
	if err := r.close(); err != nil || r.agentID("own") != "own" {
		t.Errorf("%v", err)
	}
}
