package event

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// fill sets everything below v to something other than zero. Pointers inside
// facts end where they would come back to the type they started from.
func fill(v reflect.Value, above ...reflect.Type) {
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1_795_000_000, 7).UTC()))
		return
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("127.0.0.1")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("/dir/text")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), above...)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), above...)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), append(above, v.Type())...)
		}
	case reflect.Pointer:
		times := 0
		for _, t := range above {
			if t == v.Type().Elem() {
				times++
			}
		}
		if times < 2 { // once more, so that a process has a parent
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), above...)
		}
	case reflect.Interface: // the payload, which callers choose
	default:
		panic("fill: " + v.Type().String())
	}
}

// fullEvents are events whose every field is set, one for each kind and for
// each state in which other fields of the schema are used.
func fullEvents() []*Event {
	full := func(kind Kind, p Payload, changes ...func(*Event)) *Event {
		e := &Event{}
		fill(reflect.ValueOf(e).Elem())
		fill(reflect.ValueOf(p).Elem())
		e.Kind, e.Payload = kind, p
		e.Flags, e.Tree = 1<<7-1, 1<<6-1
		e.Time = 1000
		e.Process.Unknown = false
		e.Process.Parent.Unknown = false
		for _, change := range changes {
			change(e)
		}
		return e
	}
	memory := func(m Memory) func(*Event) {
		return func(e *Event) {
			p := e.Payload.(*Memory)
			p.Before, p.After, p.BeforeUnknown = m.Before, m.After, m.BeforeUnknown
		}
	}
	known := func(e *Event) { e.Payload.(*Fork).ChildProcess.Unknown = false }
	stranger := func(e *Event) { e.Process = nil }
	return []*Event{
		full(KindProcessFork, &Fork{}, known),
		full(KindProcessFork, &Fork{}, func(e *Event) { e.Payload.(*Fork).ChildProcess = nil }),
		full(KindProcessExec, &Exec{}, func(e *Event) { e.Payload.(*Exec).Before.Unknown = false }),
		full(KindProcessExit, &Exit{}),
		full(KindProcessExit, &Exit{}, stranger),
		full(KindProcessExit, &Exit{}, func(e *Event) { e.Process.Parent = nil }),
		full(KindProcessExit, &Exit{}, func(e *Event) { e.Process.Unknown = true }),
		full(KindProcessExit, &Exit{}, func(e *Event) { e.Process.CWD = "\xff" }),
		full(KindProcessExit, &Exit{}, func(e *Event) {
			lower := File{Path: "/usr/bin/busybox", Overlay: true, Origin: e.Process.Exe.Origin}
			e.Process.Exe, e.Process.Exe.Origin.Process.Exe = lower, lower
		}),
		full(KindProcessNamespace, &Namespace{}, func(e *Event) { e.Payload.(*Namespace).Before = Namespaces{1, 1, 1, 1, 1, 1, 1} }),
		full(KindFileOpen, &Open{}),
		full(KindFileRename, &Rename{}),
		full(KindFileUnlink, &Unlink{}),
		full(KindFileChmod, &Chmod{}),
		full(KindNetworkConnect, &Flow{}),
		full(KindNetworkAccept, &Flow{}),
		full(KindMemoryProtect, &Memory{}, memory(Memory{Before: ProtRead | ProtWrite, After: ProtRead | ProtExec})),
		full(KindMemoryProtect, &Memory{}, memory(Memory{Before: ProtExec, After: ProtWrite | ProtExec})),
		full(KindMemoryMap, &Memory{}, memory(Memory{BeforeUnknown: true, After: ProtExec})),
		full(KindCgroupCreate, &Cgroup{}),
		full(KindCgroupRemove, &Cgroup{}),
	}
}

// TestEveryFieldOfTheSchemaIsSet fails when a field of the schema is set by no conversion.
func TestEveryFieldOfTheSchemaIsSet(t *testing.T) {
	set := map[protoreflect.FullName]bool{}
	for _, e := range fullEvents() {
		collectSet(e.ProtoWithAncestors("boot").ProtoReflect(), set)
	}
	seen := map[protoreflect.FullName]bool{}
	var check func(protoreflect.MessageDescriptor)
	check = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] || d.ParentFile().Package() != sensorv1.File_proto_sensor_v1_event_proto.Package() {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			if !set[f.FullName()] {
				t.Errorf("%s is never set", f.FullName())
			}
			if f.Message() != nil && !f.IsMap() {
				check(f.Message())
			}
		}
	}
	check((&sensorv1.Event{}).ProtoReflect().Descriptor())
}

func collectSet(m protoreflect.Message, set map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[f.FullName()] = true
		switch {
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				collectSet(v.List().Get(i).Message(), set)
			}
		default:
			collectSet(v.Message(), set)
		}
		return true
	})
}

// notInSchema are the fields of the hot structs that the schema leaves out.
var notInSchema = map[string]string{
	"Header.MountNS":     "the schema has the process's namespaces",
	"Header.PIDNS":       "the schema has the process's namespaces",
	"Header.CgroupID":    "the schema has the container's",
	"Fork.ChildCgroupID": "for agent/process, which publishes the child",
	"Fork.ChildTree":     "for agent/process, which publishes the child",
	"Exec.Image":         "for agent/process, which publishes it as the event's process",
	"File.Links":         "the schema has what follows from it: deleted",
	"Process.CgroupID":   "the schema has the container's",
	"Process.Tree":       "the schema has the event's",
	"Process.Home":       "the schema has the event's container",
	"Process.Session":    "the schema has the event's",
	"Session.Root":       "the schema has its id",
	"Event.EnteredHome":  "the schema has the container that it turns out to be",
}

// TestEveryHotFieldReachesTheSchema fails when a field of the hot structs can
// change without the message changing.
func TestEveryHotFieldReachesTheSchema(t *testing.T) {
	reached := map[string]bool{}
	for _, e := range fullEvents() {
		base := e.ProtoWithAncestors("boot")
		visit := func(key string, field reflect.Value) {
			kept := reflect.New(field.Type()).Elem()
			kept.Set(field)
			field.SetZero()
			same := proto.Equal(base, e.ProtoWithAncestors("boot"))
			field.Set(kept)
			reached[key] = reached[key] || !same
		}
		walkFields(reflect.ValueOf(e).Elem(), visit)
		walkFields(reflect.ValueOf(e.Payload).Elem(), visit)
	}
	for key, yes := range reached {
		_, excepted := notInSchema[key]
		if !yes && !excepted {
			t.Errorf("%s does not reach the schema", key)
		}
		if yes && excepted {
			t.Errorf("%s reaches the schema: it is no exception any more", key)
		}
	}
	for key := range notInSchema {
		if _, ok := reached[key]; !ok {
			t.Errorf("exception %s names no field", key)
		}
	}
}

// walkFields visits the fields of a struct of this package and what is below them.
func walkFields(v reflect.Value, visit func(key string, field reflect.Value), above ...reflect.Type) {
	own := func(t reflect.Type) bool {
		return t.Kind() == reflect.Struct && strings.HasSuffix(t.PkgPath(), "/event")
	}
	for i := range v.NumField() {
		field, key := v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name
		visit(key, field)
		if _, excepted := notInSchema[key]; excepted {
			continue
		}
		if field.Kind() == reflect.Array && own(field.Type().Elem()) {
			field = field.Index(0)
		}
		if field.Kind() == reflect.Pointer && !field.IsNil() {
			field = field.Elem()
		}
		if own(field.Type()) && len(above) < 4 {
			walkFields(field, visit, append(above, v.Type())...)
		}
	}
}

// TestKindsAreTheSchemas compares the numbers and names of both lists.
func TestKindsAreTheSchemas(t *testing.T) {
	for _, k := range Kinds {
		name := "KIND_" + strings.ToUpper(k.String())
		if got, ok := sensorv1.Kind_value[name]; !ok || got != int32(k) {
			t.Errorf("%s is %d here, %d in the schema", name, k, got)
		}
	}
	if len(sensorv1.Kind_value) != len(Kinds)+1 {
		t.Errorf("the schema has %d kinds, this package %d", len(sensorv1.Kind_value)-1, len(Kinds))
	}
}
