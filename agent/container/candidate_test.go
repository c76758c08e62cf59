package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	hexID   = "1f2e3d4c5b6a79880123456789abcdef1f2e3d4c5b6a79880123456789abcdef"
	otherID = "00000000000000000000000000000000000000000000000000000000000000aa"
	dashUID = "0d1e2f3a-4b5c-6d7e-8f90-a1b2c3d4e5f6"
	lineUID = "0d1e2f3a_4b5c_6d7e_8f90_a1b2c3d4e5f6"
	flatUID = "0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f6"
)

func TestParse(t *testing.T) {
	burstable := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + lineUID + ".slice"
	tests := []struct {
		name string
		path string
		want Candidate // Path empty: the whole
	}{
		{"containerd, systemd", burstable + "/cri-containerd-" + hexID + ".scope",
			Candidate{Hint: HintContainerd, ID: hexID, PodUID: lineUID}},
		{"containerd, guaranteed pod", "/kubepods.slice/kubepods-pod" + lineUID + ".slice/cri-containerd-" + hexID + ".scope",
			Candidate{Hint: HintContainerd, ID: hexID, PodUID: lineUID}},
		{"containerd, systemd's form as a directory", "/kubepods-burstable-pod" + lineUID + ".slice:cri-containerd:" + hexID,
			Candidate{Hint: HintContainerd, ID: hexID, PodUID: lineUID}},
		{"the same below the runtime's service", "/system.slice/containerd.service/kubepods-besteffort-pod" + lineUID + ".slice:cri-containerd:" + hexID,
			Candidate{Hint: HintContainerd, ID: hexID, PodUID: lineUID}},
		{"cgroupfs", "/kubepods/besteffort/pod" + dashUID + "/" + hexID,
			Candidate{Hint: HintKubepods, ID: hexID, PodUID: dashUID}},
		{"cgroupfs, guaranteed", "/kubepods/pod" + dashUID + "/" + hexID,
			Candidate{Hint: HintKubepods, ID: hexID, PodUID: dashUID}},
		{"cgroupfs, static pod", "/kubepods/burstable/pod" + flatUID + "/" + hexID,
			Candidate{Hint: HintKubepods, ID: hexID, PodUID: flatUID}},
		{"kubelet's own root", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + lineUID + ".slice/cri-containerd-" + hexID + ".scope",
			Candidate{Hint: HintContainerd, ID: hexID}},
		{"crio, systemd", burstable + "/crio-" + hexID + ".scope", Candidate{Hint: HintCRIO, ID: hexID, PodUID: lineUID}},
		{"crio, cgroupfs", "/kubepods/besteffort/pod" + dashUID + "/crio-" + hexID, Candidate{Hint: HintCRIO, ID: hexID, PodUID: dashUID}},
		{"crio's monitor", burstable + "/crio-conmon-" + hexID + ".scope", Candidate{}},
		{"crio's monitor, cgroupfs", "/kubepods/besteffort/pod" + dashUID + "/crio-conmon-" + hexID, Candidate{}},
		{"docker, systemd", "/system.slice/docker-" + hexID + ".scope", Candidate{Hint: HintDocker, ID: hexID}},
		{"docker, cgroupfs", "/docker/" + hexID, Candidate{Hint: HintDocker, ID: hexID}},
		{"docker in a slice", "/batch.slice/docker-" + hexID + ".scope", Candidate{Hint: HintDocker, ID: hexID}},
		{"docker in a group", "/batch/jobs/" + hexID, Candidate{Hint: HintOther, ID: hexID}},
		{"podman", "/machine.slice/libpod-" + hexID + ".scope", Candidate{Hint: HintPodman, ID: hexID}},
		{"podman's own group below", "/machine.slice/libpod-" + hexID + ".scope/container",
			Candidate{Hint: HintPodman, ID: hexID, Path: "/machine.slice/libpod-" + hexID + ".scope"}},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + hexID, Candidate{Hint: HintPodman, ID: hexID}},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + hexID + ".scope", Candidate{}},
		{"rootless podman", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + hexID + ".scope", Candidate{Hint: HintPodman, ID: hexID}},
		{"nerdctl, systemd", "/system.slice/nerdctl-" + hexID + ".scope", Candidate{Hint: HintOther, ID: hexID}},
		{"nerdctl, cgroupfs", "/default/" + hexID, Candidate{Hint: HintOther, ID: hexID, Namespace: "default"}},
		{"ctr", "/default/web1", Candidate{Hint: HintPlain, ID: "web1", Namespace: "default"}},
		{"ctr as root of a path", "/k8s.io/a.b_c-d", Candidate{Hint: HintPlain, ID: "a.b_c-d", Namespace: "k8s.io"}},
		{"below ctr's", "/default/web1/init.scope", Candidate{Hint: HintPlain, ID: "web1", Namespace: "default", Path: "/default/web1"}},
		{"systemd inside", "/docker/" + hexID + "/system.slice/ssh.service",
			Candidate{Hint: HintDocker, ID: hexID, Path: "/docker/" + hexID}},
		{"docker in docker", "/docker/" + hexID + "/docker/" + otherID, Candidate{Hint: HintDocker, ID: otherID}},

		{"empty", "", Candidate{}},
		{"root", "/", Candidate{}},
		{"relative", "docker/" + hexID, Candidate{}},
		{"a service", "/system.slice/ssh.service", Candidate{}},
		{"a session", "/user.slice/user-0.slice/session-1.scope", Candidate{}},
		{"first names", "/init.scope", Candidate{}},
		{"a class of pods", "/kubepods/besteffort", Candidate{}},
		{"a pod", "/kubepods/besteffort/pod" + dashUID, Candidate{}},
		{"buildkit's parent", "/docker/buildkit", Candidate{}},
		{"63 digits", "/x.slice/docker-" + hexID[1:] + ".scope", Candidate{}},
		{"65 digits", "/a.slice/0" + hexID, Candidate{}},
		{"upper case", "/a.slice/" + strings.ToUpper(hexID), Candidate{}},
		{"no prefix in a slice", "/a.slice/-" + hexID, Candidate{}},
		{"colon alone", "/a.slice/:" + hexID, Candidate{}},
		{"bad namespace", "/-default/web1", Candidate{}},
		{"bad id", "/default/web1-", Candidate{}},
		{"newline", "/default/web\n1", Candidate{}},
		{"doubled slash", "//default/web1", Candidate{}},
		{"not UTF-8", "/\xff\xfe/\x80" + hexID, Candidate{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want.Hint != HintNone && want.Path == "" {
				want.Path = tt.path
			}
			got, ok := Parse(tt.path)
			if diff := cmp.Diff(want, got); diff != "" || ok != (want.Hint != HintNone) {
				t.Errorf("ok %v, difference (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	paths := []string{
		"/system.slice/ssh.service", "/user.slice/user-0.slice/session-1.scope",
		"/docker/" + hexID + "/deep/below", strings.Repeat("/"+hexID, 60), "/default/web1",
	}
	for _, path := range paths {
		if n := testing.AllocsPerRun(100, func() { Parse(path) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func FuzzCandidate(f *testing.F) {
	for _, path := range []string{
		"", "/", "/default/web1", "/docker/" + hexID, "/kubepods/besteffort/pod" + dashUID + "/" + hexID + "/x",
		"/kubepods-burstable-pod" + lineUID + ".slice:cri-containerd:" + hexID,
		"/machine.slice/libpod-conmon-" + hexID + ".scope", "//a\n/\xff/\x80",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		c, ok := Parse(path)
		if !ok {
			if c != (Candidate{}) {
				t.Fatalf("no candidate, but %+v", c)
			}
			return
		}
		rest, inside := strings.CutPrefix(path, c.Path)
		switch {
		case c.ID == "" || c.Hint == HintNone:
			t.Fatalf("a candidate without id or hint: %+v", c)
		case !inside || rest != "" && rest[0] != '/':
			t.Fatalf("%q is not at or below %q", path, c.Path)
		case !strings.Contains(c.Path[strings.LastIndexByte(c.Path, '/'):], c.ID):
			t.Fatalf("the last name of %q lacks the id %q", c.Path, c.ID)
		case c.Hint != HintPlain && (len(c.ID) != idLength || !isHex(c.ID)):
			t.Fatalf("id is %q", c.ID)
		}
		if again, ok := Parse(c.Path); !ok || again != c {
			t.Fatalf("its own path gives %+v, not %+v", again, c)
		}
		if below, ok := Parse(c.Path + "/below.service"); !ok || below != c {
			t.Fatalf("a group below gives %+v, not %+v", below, c)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	path := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + lineUID + ".slice/cri-containerd-" + hexID + ".scope"
	b.ReportAllocs()
	for b.Loop() {
		Parse(path)
	}
}
