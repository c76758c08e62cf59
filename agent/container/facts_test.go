package container

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

// jsonSpec is a specification as it comes from the daemon.
type jsonSpec string

func (jsonSpec) GetTypeUrl() string { return "types.containerd.io/opencontainers/runtime-spec/1/Spec" }
func (s jsonSpec) GetValue() []byte { return []byte(s) }

func TestFactOfPod(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	labels := map[string]string{
		labelContainerName: "web", labelPodName: "web-0", labelPodNamespace: "shop", labelPodUID: dashUID, labelKind: "container",
	}
	got := newFact("k8s.io", containers.Container{
		ID: hexID, Labels: labels, Image: "sha256:abc", CreatedAt: created,
		Spec: jsonSpec(`{"annotations":{"io.kubernetes.cri.image-name":"registry.test/web:1"},"linux":{"cgroupsPath":"kubepods-besteffort-pod` +
			lineUID + `.slice:cri-containerd:` + hexID + `"}}`),
	}, "sha256:def")
	want := event.Container{
		ID: hexID, Runtime: RuntimeContainerd, RuntimeNamespace: "k8s.io", Name: "web", Image: "registry.test/web:1",
		ImageDigest: "sha256:def", Created: created, PodName: "web-0", PodNamespace: "shop", PodUID: dashUID, Labels: labels,
	}
	if diff := cmp.Diff(want, got.container); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
	wantPath := "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + lineUID + ".slice/cri-containerd-" + hexID + ".scope"
	if got.path != wantPath {
		t.Errorf("path is %s", got.path)
	}
}

func TestNameOf(t *testing.T) {
	for _, tt := range []struct {
		labels map[string]string
		want   string
	}{
		{nil, "id"},
		{map[string]string{labelNerdctl: "n"}, "n"},
		{map[string]string{labelKind: "sandbox"}, sandboxName},
		{map[string]string{labelKind: "container", labelContainerName: "c", labelNerdctl: "n"}, "c"},
	} {
		if got := nameOf("id", tt.labels); got != tt.want {
			t.Errorf("%v: %s", tt.labels, got)
		}
	}
}

func TestHostileMetadata(t *testing.T) {
	labels := make(map[string]string)
	for i := range 500 {
		labels[fmt.Sprintf("%03d", i)] = strings.Repeat("v", i)
	}
	got := newFact("default", containers.Container{
		ID: strings.Repeat("i", 5000), Image: strings.Repeat("m", 5000), Labels: labels, Spec: jsonSpec("{"),
	}, "").container
	size := 0
	for k, v := range got.Labels {
		size += len(k) + len(v)
	}
	if len(got.Labels) > maxLabels || size > maxLabelBytes || len(got.ID) > maxText || len(got.Image) > maxText {
		t.Errorf("kept %d labels of %d bytes, id of %d", len(got.Labels), size, len(got.ID))
	}
	if got.Labels["003"] != "vvv" {
		t.Error("the short labels are gone")
	}
}

func TestCgroupsPath(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"/default/web1":               "/default/web1",
		"/a/../b//c":                  "/b/c",
		"web1":                        "",
		"system.slice:docker:abc":     "/system.slice/docker-abc.scope",
		":cri:abc":                    "/system.slice/cri-abc.scope",
		"-.slice:x:y":                 "/x-y.scope",
		"a-b-c.slice:x:y":             "/a.slice/a-b.slice/a-b-c.slice/x-y.scope",
		"a.slice:x:y.slice":           "/a.slice/y.slice",
		"notaslice:x:y":               "",
		"a.slice:x":                   "",
		"a.slice:x:":                  "",
		".slice:x:y":                  "",
		"a.slice:x:../../y":           "",
		"a.slice/../b.slice:runc:abc": "",
	} {
		if got := cgroupsPath(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzCgroupsPath(f *testing.F) {
	for _, s := range []string{"", "/default/web1", "a-b.slice:x:y", ":::", "-.slice:x:y", "/../.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cgroupsPath(s)
		if got != "" && (got[0] != '/' || path.Clean(got) != got) {
			t.Fatalf("%q gives %q", s, got)
		}
	})
}

func TestAgrees(t *testing.T) {
	born := time.Unix(1000, 0)
	before := event.Container{Created: born.Add(-time.Second)}
	whole := &fact{path: "/default/web1", container: before}
	q := question{Candidate: Candidate{Hint: HintPlain, Path: "/default/web1"}, born: born}
	with := func(change func(*question)) question { changed := q; change(&changed); return changed }
	tests := []struct {
		name string
		fact *fact
		q    question
		want bool
	}{
		{"made before the agent", whole, q, true},
		{"made by runc", whole, with(func(q *question) { q.maker = makerRuntime }), true},
		{"made by somebody", whole, with(func(q *question) { q.maker = makerOther }), false},
		{"elsewhere", whole, with(func(q *question) { q.Path = "/kubepods/web1" }), false},
		{"announced, made before", whole, with(func(q *question) { q.Hint = HintExpected }), false},
		{"announced, made by runc", whole, with(func(q *question) { q.Hint, q.maker = HintExpected, makerRuntime }), true},
		{"older than the container", &fact{path: q.Path, container: event.Container{Created: born.Add(1)}}, q, false},
		{"event only", &fact{partial: true, container: before}, q, false},
		{"event only, made by runc", &fact{partial: true, container: before}, with(func(q *question) { q.maker = makerRuntime }), true},
	}
	for _, tt := range tests {
		if got := tt.fact.agrees(tt.q); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestGenerations(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	of := func(s int64) *fact {
		return &fact{namespace: "default", container: event.Container{ID: "web1", Created: at(s)}}
	}
	key := factKey{"default", "web1"}
	store := facts{limit: 2, byKey: make(map[factKey]*generations)}
	first := store.keep(of(10), at(10))
	first.used = true
	store.release(key, at(12))
	if again := store.keep(of(10), at(13)); !again.used {
		t.Error("the same container read again counts as unused")
	}
	second := store.keep(of(20), at(20))
	if got := store.generation(key, at(11)); !got.container.Created.Equal(at(10)) {
		t.Errorf("born at 11: %v", got.container.Created)
	}
	if got := store.generation(key, at(21)); got != second {
		t.Errorf("born at 21: %v", got.container.Created)
	}
	store.keep(&fact{namespace: "default", container: event.Container{ID: "b"}}, at(20))
	full := &fact{namespace: "default", container: event.Container{ID: "c"}}
	if store.keep(full, at(20)); store.newest(factKey{"default", "c"}) != nil {
		t.Error("the bound does not hold")
	}
	store.release(factKey{"default", "b"}, at(30))
	if store.keep(full, at(31)); store.newest(factKey{"default", "c"}) != full || store.newest(factKey{"default", "b"}) != nil {
		t.Error("the removed one did not make room")
	}
	store.release(key, at(40))
	second.announced, second.path = true, "/a/b"
	if paths := store.sweep(at(41)); len(paths) != 1 || len(store.byKey) != 1 {
		t.Errorf("swept %v, left %d", paths, len(store.byKey))
	}
}
