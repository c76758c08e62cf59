package redact

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func seeds() (all []string) {
	for _, forms := range secretForms {
		for _, form := range forms {
			all = append(all, strings.NewReplacer("«", "", "»", "").Replace(strings.Join(form, "\x00")))
		}
	}
	for _, args := range lookAlikes {
		all = append(all, strings.Join(args, "\x00"))
	}
	for _, piece := range hostile {
		all = append(all, "sh\x00"+strings.Repeat(piece, 5), strings.Repeat(piece+"\x00", 5))
	}
	return all
}

// check holds what is true of any text before and after redaction.
func check(t *testing.T, before, after string) {
	t.Helper()
	if len(after) > (maskBytes+1)*len(before) {
		t.Errorf("%q became %q: %d times as long", before, after, len(after)/len(before))
	}
	if utf8.ValidString(before) && !utf8.ValidString(after) {
		t.Errorf("%q became %q: not UTF-8", before, after)
	}
	for _, c := range after {
		if unicode.IsControl(c) && !strings.ContainsRune(before, c) {
			t.Errorf("%q became %q: a new control character", before, after)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range seeds() {
		f.Add(strings.ReplaceAll(s, "\x00", " "))
	}
	r := redactor(f)
	f.Fuzz(func(t *testing.T, text string) {
		once := r.Text(text)
		check(t, text, once)
		if twice := r.Text(once); twice != once {
			t.Errorf("%q: redacted twice is %q, once %q", text, twice, once)
		}
	})
}

func FuzzArgs(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	r := redactor(f)
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x00")
		once := strings.Split(joined, "\x00")
		r.Args(once)
		for i := range args {
			check(t, args[i], once[i])
		}
		twice := append([]string{}, once...)
		if n := r.Args(twice); n != 0 {
			t.Errorf("%q: redacted twice is %q, once %q", args, twice, once)
		}
	})
}

func FuzzDetection(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, "in "+s, true)
		f.Add(s+"\xff", s[:len(s)/2]+ellipsis, true)
		f.Add(s, s[:len(s)/2]+ellipsis, false)
	}
	r := redactor(f)
	f.Fuzz(func(t *testing.T, joined, text string, truncated bool) {
		e := (&event.Event{
			Header:  event.Header{Kind: event.KindProcessExec},
			Process: &event.Process{ID: "p", Args: strings.Split(joined, "\x00"), ArgsCut: truncated, CWD: text},
			Payload: &event.Exec{},
		}).Proto("b")
		text = strings.ToValidUTF8(text, "?")
		words := strings.Join(e.Process.Args, " ")
		m := &sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: &sensorv1.Detection{
			Event: e, Summary: text, Evidence: map[string]string{"command": words, "cut": strings.ToValidUTF8(words[:len(words)/2], "") + ellipsis},
		}}}
		r.Record(m)
		if _, err := proto.Marshal(m); err != nil {
			t.Fatal(err)
		}
		check(t, words, m.GetDetection().Evidence["command"])
		check(t, text, m.GetDetection().Summary)
		once := proto.CloneOf(m)
		if n := r.Record(m); n != 0 || !proto.Equal(once, m) {
			t.Errorf("redacted twice: -once +twice:\n%s", cmp.Diff(once, m, protocmp.Transform()))
		}
	})
}
