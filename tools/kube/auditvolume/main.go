// auditvolume prints what an audit policy would have recorded of requests that a more
// detailed one recorded: events and bytes, by verb and resource. The API server's own code
// reads the policy. Recordings mostly lack the stage RequestReceived: it is made of the
// request's last stage, those that are there do not count.
//
//	auditvolume [-top N] [-write FILE] POLICY EVENTS.jsonl[.gz]...
//
// -write keeps the events as that policy would have recorded them, one a line.
package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func main() {
	top := flag.Int("top", 20, "print this `many` kinds of requests, those with the most bytes")
	write := flag.String("write", "", "write what the policy records to this `file`")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: auditvolume [-top N] [-write FILE] POLICY EVENTS...")
		os.Exit(2)
	}
	if err := run(os.Stdout, *top, *write, flag.Arg(0), flag.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "auditvolume:", err)
		os.Exit(1)
	}
}

// count is what was recorded of one kind of requests.
type count struct{ events, bytes int }

// volume adds events up.
type volume struct {
	evaluator         audit.PolicyRuleEvaluator
	offered, recorded count
	coarse            int // events whose bodies the recording lacks
	kinds             map[string]count
	first, last       time.Time
	to                io.Writer // gets what was recorded
}

func run(out io.Writer, top int, write, path string, recordings []string) error {
	p, err := policy.LoadPolicyFromFile(path)
	if err != nil {
		return err
	}
	v := &volume{evaluator: policy.NewPolicyRuleEvaluator(p), kinds: map[string]count{}, to: io.Discard}
	if write != "" {
		f, err := os.Create(write)
		if err != nil {
			return err
		}
		defer f.Close()
		v.to = f
	}
	for _, name := range recordings {
		if err := v.read(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	seconds := v.last.Sub(v.first).Seconds()
	fmt.Fprintf(out, "offered  %6d events %10d bytes in %.0f s\n", v.offered.events, v.offered.bytes, seconds)
	fmt.Fprintf(out, "recorded %6d events %10d bytes: %.1f events/s, %.0f bytes/event, %.1f KiB/s\n", v.recorded.events, v.recorded.bytes,
		float64(v.recorded.events)/seconds, float64(v.recorded.bytes)/float64(max(1, v.recorded.events)), float64(v.recorded.bytes)/seconds/1024)
	if v.coarse > 0 {
		fmt.Fprintf(out, "%d of them would have bodies that the recording lacks: they count without\n", v.coarse)
	}
	kinds := slices.SortedFunc(maps.Keys(v.kinds), func(a, b string) int {
		return cmp.Or(v.kinds[b].bytes-v.kinds[a].bytes, strings.Compare(a, b))
	})
	for _, kind := range kinds[:min(top, len(kinds))] {
		fmt.Fprintf(out, "%6d %9d  %s\n", v.kinds[kind].events, v.kinds[kind].bytes, kind)
	}
	return nil
}

func (v *volume) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := v.add(&e, len(lines.Bytes())+1); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// ranks of levels, in rising detail.
var ranks = map[auditv1.Level]int{auditv1.LevelNone: 0, auditv1.LevelMetadata: 1, auditv1.LevelRequest: 2, auditv1.LevelRequestResponse: 3}

func (v *volume) add(e *auditv1.Event, bytes int) error {
	v.offered.events, v.offered.bytes = v.offered.events+1, v.offered.bytes+bytes
	at := e.StageTimestamp.Time
	if v.first.IsZero() || at.Before(v.first) {
		v.first = at
	}
	if at.After(v.last) {
		v.last = at
	}
	config := v.evaluator.EvaluatePolicyRule(attributes(e))
	records := func(stage auditinternal.Stage) bool {
		return config.Level != auditinternal.LevelNone && !slices.Contains(config.OmitStages, stage)
	}
	if ends := auditinternal.Stage(e.Stage) == auditinternal.StageResponseComplete; ends && records(auditinternal.StageRequestReceived) {
		if err := v.record(received(e), auditv1.Level(config.Level)); err != nil {
			return err
		}
	}
	if stage := auditinternal.Stage(e.Stage); stage == auditinternal.StageRequestReceived || !records(stage) {
		return nil
	}
	return v.record(e, auditv1.Level(config.Level))
}

// received is the stage of a request before it had an answer.
func received(e *auditv1.Event) *auditv1.Event {
	before := *e
	before.Stage, before.StageTimestamp = auditv1.StageRequestReceived, e.RequestReceivedTimestamp
	before.ResponseStatus, before.RequestObject, before.ResponseObject, before.Annotations = nil, nil, nil, nil
	return &before
}

// record counts an event as it is at a level.
func (v *volume) record(e *auditv1.Event, level auditv1.Level) error {
	if ranks[level] > ranks[e.Level] {
		if e.Stage != auditv1.StageRequestReceived { // which has none
			v.coarse++
		}
	} else {
		e.Level = level
	}
	if ranks[level] < 2 {
		e.RequestObject = nil
	}
	if ranks[level] < 3 {
		e.ResponseObject = nil
	}
	text, err := runtime.Encode(audit.Codecs.LegacyCodec(auditv1.SchemeGroupVersion), internal(e))
	if err != nil {
		return err
	}
	if _, err := v.to.Write(text); err != nil {
		return err
	}
	v.recorded.events, v.recorded.bytes = v.recorded.events+1, v.recorded.bytes+len(text)
	kind := string(level) + " " + e.Verb + " " + e.RequestURI
	if o := e.ObjectRef; o != nil {
		kind = strings.TrimSuffix(string(level)+" "+e.Verb+" "+o.Resource+"/"+o.Subresource, "/")
	}
	c := v.kinds[kind]
	v.kinds[kind] = count{c.events + 1, c.bytes + len(text)}
	return nil
}

func internal(e *auditv1.Event) *auditinternal.Event {
	var out auditinternal.Event
	_ = auditv1.Convert_v1_Event_To_audit_Event(e, &out, nil) // copies fields
	return &out
}

// attributes are what the API server asked its policy about.
func attributes(e *auditv1.Event) authorizer.Attributes {
	a := authorizer.AttributesRecord{Verb: e.Verb}
	a.Path, _, _ = strings.Cut(e.RequestURI, "?")
	if e.User.Username != "" {
		a.User = &user.DefaultInfo{Name: e.User.Username, Groups: e.User.Groups}
	}
	if o := e.ObjectRef; o != nil {
		a.ResourceRequest = true
		a.APIGroup, a.APIVersion, a.Namespace = o.APIGroup, o.APIVersion, o.Namespace
		a.Resource, a.Subresource, a.Name = o.Resource, o.Subresource, o.Name
	}
	return a
}
