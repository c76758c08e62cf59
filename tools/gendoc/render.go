package main

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const intro = `# Events

Written by ` + "`go generate ./tools/gendoc`" + ` from ` + "`proto/sensor/v1/event.proto`" + `: change it there.

An agent prints one [Record](#record) a line as JSON, with the names below. Fields
that are absent are zero, false or empty. Numbers of 64 bits are text in JSON, as
protobuf has it; times are RFC 3339 in UTC, durations seconds with an ` + "`s`" + `;
enums go by name. Text is the kernel's own, see ` + "`escaped`" + ` of [Event](#event). Rule
conditions use the same names.
`

func render(file protoreflect.FileDescriptor, about comments) []byte {
	var b bytes.Buffer
	b.WriteString(intro)

	kinds := file.Enums().ByName("Kind")
	payloads := file.Messages().ByName("Event").Oneofs().ByName("payload").Fields()
	fmt.Fprintf(&b, "\n## Kind\n\n| Kind | Number | Payload |\n|---|---|---|\n")
	for i := range kinds.Values().Len() {
		v := kinds.Values().Get(i)
		payload := ""
		if f := payloadOf(string(v.Name()), payloads); f != nil {
			payload = fmt.Sprintf("`%s`: %s", f.Name(), link(f.Message()))
		}
		row(&b, code(v), fmt.Sprint(v.Number()), payload)
	}

	for i := range file.Messages().Len() {
		renderMessage(&b, file.Messages().Get(i), about)
	}
	for i := range file.Enums().Len() {
		if e := file.Enums().Get(i); e != kinds {
			fmt.Fprintf(&b, "\n## %s\n\n| Name | Number |\n|---|---|\n", e.Name())
			for j := range e.Values().Len() {
				row(&b, code(e.Values().Get(j)), fmt.Sprint(e.Values().Get(j).Number()))
			}
		}
	}
	return b.Bytes()
}

func renderMessage(b *bytes.Buffer, m protoreflect.MessageDescriptor, about comments) {
	fmt.Fprintf(b, "\n## %s\n\n", m.Name())
	if text := about[string(m.Name())]; text != "" {
		fmt.Fprintf(b, "%s\n\n", text)
	}
	b.WriteString("| Field | Type | Meaning |\n|---|---|---|\n")
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		meaning := about[string(m.Name())+"."+string(f.Name())]
		if one := f.ContainingOneof(); one != nil && meaning == "" {
			meaning = fmt.Sprintf("One %s at most.", one.Name())
		}
		row(b, code(f), typeOf(f), meaning)
	}
}

// payloadOf finds the oneof's field of a kind: KIND_FILE_OPEN is open,
// KIND_CGROUP_CREATE is cgroup_create.
func payloadOf(kind string, fields protoreflect.FieldDescriptors) protoreflect.FieldDescriptor {
	name := strings.ToLower(strings.TrimPrefix(kind, "KIND_"))
	if f := fields.ByName(protoreflect.Name(name)); f != nil {
		return f
	}
	_, act, _ := strings.Cut(name, "_")
	return fields.ByName(protoreflect.Name(act))
}

func typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map of %s to %s", typeOf(f.MapKey()), typeOf(f.MapValue()))
	case f.IsList():
		return "list of " + elementOf(f)
	}
	return elementOf(f)
}

func elementOf(f protoreflect.FieldDescriptor) string {
	if m := f.Message(); m != nil {
		return link(m)
	}
	if e := f.Enum(); e != nil {
		return link(e)
	}
	return f.Kind().String()
}

// link points at a type's own section; those of protobuf have plain names.
func link(d protoreflect.Descriptor) string {
	switch d.FullName() {
	case "google.protobuf.Timestamp":
		return "time"
	case "google.protobuf.Duration":
		return "duration"
	}
	return fmt.Sprintf("[%s](#%s)", d.Name(), strings.ToLower(string(d.Name())))
}

func code(d protoreflect.Descriptor) string { return "`" + string(d.Name()) + "`" }

func row(b *bytes.Buffer, cells ...string) {
	for _, cell := range cells {
		cell = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(cell)
		b.WriteString("| " + cell + " ")
	}
	b.WriteString("|\n")
}
