package tlsconf

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
)

const someAgent = "0b0e8ad3-5f1c-4c0e-9d5a-3f6f5f0d2a11"

var identities = map[string]Identity{
	"seawall://prod/agent/" + someAgent:               {Cluster: "prod", Role: Agent, Name: someAgent},
	"seawall://prod-1/collector":                      {Cluster: "prod-1", Role: Collector},
	"seawall://7/client/siem_eu-1.a?role=viewer":      {Cluster: "7", Role: Client, Name: "siem_eu-1.a", Access: Viewer},
	"seawall://prod/client/Jane?role=operator":        {Cluster: "prod", Role: Client, Name: "Jane", Access: Operator},
	"seawall://" + long(63) + "/client/a?role=viewer": {Cluster: long(63), Role: Client, Name: "a", Access: Viewer},
}

func long(n int) string { return strings.Repeat("a", n) }

func TestIdentity(t *testing.T) {
	for text, want := range identities {
		got, err := ParseIdentity(text)
		if err != nil || got != want {
			t.Errorf("parse %s: %+v, %v; want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%s prints as %s", text, got)
		}
		uri, err := want.URI()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{uri}}); err != nil || back != want {
			t.Errorf("through a certificate: %+v, %v; want %+v", back, err, want)
		}
	}
}

func TestIdentityIsStrict(t *testing.T) {
	for _, text := range []string{
		"", "seawall:", "seawall://", "seawall:///collector", "http://prod/collector", "SEAWALL://prod/collector",
		"seawall://Prod/collector", "seawall://pr.od/collector", "seawall://-a/collector", "seawall://a-/collector",
		"seawall://" + long(64) + "/collector", "seawall://prod:1/collector", "seawall://u@prod/collector",
		"seawall://prod", "seawall://prod/", "seawall://prod/collector/", "seawall://prod/collector/x", "seawall://prod/collector?role=viewer",
		"seawall://prod/collector?role=", "seawall://prod/collector#", "seawall://prod/Collector", "seawall://prod/admin",
		"seawall://prod/agent", "seawall://prod/agent/", "seawall://prod/agent/x",
		"seawall://prod/agent/" + strings.ToUpper(someAgent), "seawall://prod/agent/{" + someAgent + "}",
		"seawall://prod/agent/" + strings.Replace(someAgent, "-4c", "-1c", 1), // another version of UUID
		"seawall://prod/agent/" + someAgent + "?role=viewer", "seawall://prod/agent/" + someAgent + "/",
		"seawall://prod/agent/" + someAgent + "\n", "seawall://prod/agent/%30b0e8ad3-5f1c-4c0e-9d5a-3f6f5f0d2a11",
		"seawall://prod/client/a", "seawall://prod/client/a?role=admin", "seawall://prod/client/a?role=viewer&role=operator",
		"seawall://prod/client/?role=viewer", "seawall://prod/client/.?role=viewer", "seawall://prod/client/a/b?role=viewer",
		"seawall://prod/client/ä?role=viewer", "seawall://prod/client/" + long(64) + "?role=viewer",
		"seawall://prod/client/a?role=viewer?role=viewer", " seawall://prod/collector", "seawall://prod/collector" + long(300),
	} {
		if id, err := ParseIdentity(text); err == nil {
			t.Errorf("%q is taken: %+v", text, id)
		}
	}
	if _, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{{}, {}}}); err == nil {
		t.Error("two URIs are taken")
	}
	if _, err := (Identity{Cluster: "prod", Role: Agent, Name: "x"}).URI(); err == nil {
		t.Error("an identity that cannot be read back goes into a certificate")
	}
}

func FuzzParseIdentity(f *testing.F) {
	for text := range identities {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseIdentity(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("error is no line: %q", err)
			}
			return
		}
		if id.String() != text {
			t.Errorf("%q prints as %q", text, id)
		}
		if _, err := id.URI(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
