// Command gendoc writes docs/events.md from the event schema: structure from
// the compiled descriptors, meaning from the comments of the source. It writes
// docs/audit-rules.md from the built-in rules for the audit log.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/seawall-security/seawall/internal/rule/builtin"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

//go:generate go run . -proto ../../proto/sensor/v1/event.proto -out ../../docs/events.md -rules ../../docs/audit-rules.md

func main() {
	proto := flag.String("proto", "proto/sensor/v1/event.proto", "source of the schema")
	out := flag.String("out", "docs/events.md", "page of events to write")
	rules := flag.String("rules", "docs/audit-rules.md", "page of audit rules to write")
	flag.Parse()
	if err := run(*proto, *out, *rules); err != nil {
		fmt.Fprintln(os.Stderr, "gendoc:", err)
		os.Exit(1)
	}
}

func run(proto, out, rules string) error {
	page, err := generate(proto)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, page, 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	page, err = auditRules(builtin.FS)
	if err != nil {
		return err
	}
	if err := os.WriteFile(rules, page, 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

func generate(proto string) ([]byte, error) {
	source, err := os.ReadFile(proto)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	return render(sensorv1.File_proto_sensor_v1_event_proto, parseComments(string(source))), nil
}
