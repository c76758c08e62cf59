package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// What is offered for some seconds is in the log, each event once: this is about counts, not
// about how fast the machine is.
func TestLoad(t *testing.T) {
	program := filepath.Join(t.TempDir(), "seawall-collector")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../collector")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for name, l := range map[string]load{
		"webhook": {duration: 3 * time.Second},
		"outage":  {duration: 6 * time.Second, outage: true, rate: 500, away: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l.collector, l.corpus, l.folder = program, "../../internal/audit/testdata/corpus", t.TempDir()
			var out bytes.Buffer
			if err := l.run(t.Context(), &out); err != nil {
				t.Error(err)
			}
			t.Log(out.String())
		})
	}
}
