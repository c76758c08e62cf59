package bundle

import (
	"fmt"
	"time"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// AuditRules loads the rules for requests to the Kubernetes API, which the collector runs
// itself: the built-in ones, those of the collector's own files and those of the bundle
// that agents are sent. folder may be empty and held nil. Exceptions that have expired at
// now are inert.
//
// Own files are the floor, as they are on agents: a bundle that would replace one of their
// rules does not load. Nobody has checked the bundle's signature: who may push one is
// trusted with these rules.
func AuditRules(folder string, held *sensorv1.SignedBundle, now time.Time) (*auditrule.Set, error) {
	sources, err := builtinSources()
	if err != nil {
		return nil, err
	}
	if folder != "" {
		own, err := rule.ReadPath(folder)
		if err != nil {
			return nil, err
		}
		for i := range own {
			own[i].Origin = rule.OriginLocal
		}
		sources = append(sources, own...)
	}
	if held != nil {
		b, err := bundle.FromProto(held).Unverified()
		if err != nil {
			return nil, fmt.Errorf("read bundle: %w", err)
		}
		sources = append(sources, sourcesOf(b)...)
	}
	set, err := auditrule.Load(sources, now)
	if err != nil {
		return nil, fmt.Errorf("load audit rules:\n%w", err)
	}
	return set, nil
}

// builtinSources are the rule files that the program brings.
func builtinSources() ([]rule.Source, error) {
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		return nil, err
	}
	for i := range sources {
		sources[i].Name = "builtin/" + sources[i].Name
	}
	return sources, nil
}

// sourcesOf are the rule files of a bundle.
func sourcesOf(b bundle.Bundle) []rule.Source {
	sources := make([]rule.Source, 0, len(b.Files))
	for _, file := range b.Files {
		sources = append(sources, rule.Source{Name: "bundle/" + file.Name, Data: file.Data, Origin: rule.OriginBundle})
	}
	return sources
}
