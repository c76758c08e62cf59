package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// fact is what of a detection is the same on every machine and kernel: no times,
// ids, pids, digests or versions, and nothing that depends on the hooks' rungs.
type fact struct {
	Act        string   `json:"act"`
	Rule       string   `json:"rule"`
	Severity   string   `json:"severity"`
	Techniques []string `json:"techniques"`
	Event      string   `json:"event"`
	Object     string   `json:"object"`
	Chain      []string `json:"chain"`
	Session    string   `json:"session"` // init, exec or none
	Container  string   `json:"container"`
	Image      string   `json:"image"`
	Pod        string   `json:"pod"`
}

// facts are the detections' facts. Equal ones count once: how often a rule fires
// within an act can depend on timing.
func facts(scenes []scene) []fact {
	var found []fact
	for _, s := range scenes {
		d, e := s.detection, s.detection.GetEvent()
		found = append(found, fact{
			Act:        s.act,
			Rule:       d.GetRule(),
			Severity:   severity(d),
			Techniques: d.GetTechniques(),
			Event:      strings.ToLower(strings.TrimPrefix(e.GetKind().String(), "KIND_")),
			Object:     plain(object(e)),
			Chain:      chain(d, func(p *sensorv1.Process) string { return plain(p.GetName()) }),
			Session:    session(e.GetSession()),
			Container:  e.GetContainer().GetName(),
			Image:      e.GetContainer().GetImage(),
			Pod:        e.GetContainer().GetPod().GetNamespace() + "/" + e.GetContainer().GetPod().GetName(),
		})
	}
	// Acts follow each other; within one, processes run side by side.
	order := map[string]int{}
	for i, f := range found {
		if _, ok := order[f.Act]; !ok {
			order[f.Act] = i
		}
	}
	slices.SortStableFunc(found, func(a, b fact) int {
		return cmp.Or(cmp.Compare(order[a.Act], order[b.Act]), strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Event, b.Event), strings.Compare(a.Object, b.Object), slices.Compare(a.Chain, b.Chain))
	})
	return slices.CompactFunc(found, func(a, b fact) bool { return gocmp.Equal(a, b) })
}

// object is what the event was done to.
func object(e *sensorv1.Event) string {
	switch e.GetPayload().(type) {
	case *sensorv1.Event_Exec:
		return strings.Join(e.GetProcess().GetArgs(), " ")
	case *sensorv1.Event_Namespace:
		return strings.Join(e.GetNamespace().GetJoinedHost(), " ")
	case *sensorv1.Event_Open:
		return e.GetOpen().GetFile().GetPath()
	case *sensorv1.Event_Rename:
		return e.GetRename().GetNewPath()
	case *sensorv1.Event_Unlink:
		return e.GetUnlink().GetFile().GetPath()
	case *sensorv1.Event_Chmod:
		return e.GetChmod().GetFile().GetPath()
	case *sensorv1.Event_Connect:
		return address(e.GetConnect().GetRemote())
	case *sensorv1.Event_Accept:
		return address(e.GetAccept().GetLocal())
	case *sensorv1.Event_Protect:
		return e.GetProtect().GetRegion()
	case *sensorv1.Event_Map:
		return e.GetMap().GetRegion()
	}
	return ""
}

func address(a *sensorv1.Address) string { return fmt.Sprintf("%s:%d", a.GetIp(), a.GetPort()) }

func session(s *sensorv1.Session) string {
	switch {
	case s == nil:
		return "none"
	case s.GetInit():
		return "init"
	}
	return "exec"
}

// plain takes out what differs between distributions and runs: PHP's version and
// the names of its temporary files.
func plain(text string) string {
	return versions.ReplaceAllString(uploads.ReplaceAllString(text, "/tmp/php*"), "$1")
}

var (
	versions = regexp.MustCompile(`\b(php-cgi|php)\d+\.\d+\b`)
	uploads  = regexp.MustCompile(`/tmp/php[A-Za-z0-9]{6}\b`)
)

func writeGolden(path string, content any) error {
	text, err := encode(content)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write golden file: %w", err)
	}
	return nil
}

// compareGolden returns how the detections differ from the golden file's.
func compareGolden(path string, content any) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read golden file: %w", err)
	}
	got, err := encode(content)
	if err != nil {
		return "", err
	}
	return gocmp.Diff(strings.Split(string(text), "\n"), strings.Split(string(got), "\n")), nil
}

// encodeFacts writes the facts as JSON for people to review.
func encode(content any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(content); err != nil {
		return nil, fmt.Errorf("encode golden file: %w", err)
	}
	return text.Bytes(), nil
}
