package auditrule

import (
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// TestReaders is that fields read directly are what reflection reads.
func TestReaders(t *testing.T) {
	full := &auditv1.Event{
		Verb: "get", RequestUri: "/api", UserAgent: "kubectl", SourceIps: []string{"10.0.0.1", "10.0.0.2"}, Code: 403, Message: "no",
		Annotations: map[string]string{"a": "b"},
		User:        &auditv1.User{Name: "alice", Groups: []string{"x"}, Extra: map[string]*auditv1.Values{"k": {Values: []string{"v"}}}},
		Object:      &auditv1.Object{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web", ApiGroup: "g"},
	}
	registry, err := types.NewRegistry(full)
	if err != nil {
		t.Fatal(err)
	}
	direct := fields{registry}
	for name := range readers {
		message, field, _ := strings.Cut(strings.TrimPrefix(name, "seawall.audit.v1."), ".")
		of, ok := registry.FindStructFieldType("seawall.audit.v1."+message, field)
		if !ok {
			t.Errorf("the schema has no field %s", name)
			continue
		}
		ours, _ := direct.FindStructFieldType("seawall.audit.v1."+message, field)
		for _, from := range map[string][]proto.Message{
			"Event": {full, &auditv1.Event{}}, "User": {full.User, &auditv1.User{}}, "Object": {full.Object, &auditv1.Object{}},
		}[message] {
			want, err := of.GetFrom(from)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ours.GetFrom(from)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if a, b := registry.NativeToValue(want), registry.NativeToValue(got); a.Equal(b) != types.True || a.Type() != b.Type() {
				t.Errorf("%s is %v, want %v", name, b, a)
			}
		}
		if _, err := ours.GetFrom(7); err == nil {
			t.Errorf("%s is read of a number", name)
		}
	}
}
