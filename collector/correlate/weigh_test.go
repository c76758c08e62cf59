package correlate

import (
	"testing"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestReadsThatTellSomething(t *testing.T) {
	read := func(f *sensorv1.File) *sensorv1.Event {
		return &sensorv1.Event{Tree: []string{"web"}, Payload: &sensorv1.Event_Open{Open: &sensorv1.FileOpen{Read: true, File: f}}}
	}
	for path, want := range map[string]string{
		"/etc/passwd": roleRead, "/var/www/html/config.php": roleRead, "/proc/1/environ": roleRead, "/root/.ssh/id_ed25519": roleRead,
		"/etc/ld.so.cache": "", "/usr/lib/x86_64-linux-gnu/libc.so.6": "", "/usr/lib/locale/C.utf8/LC_NAME": "", "/proc/self/maps": "",
	} {
		if got, _ := roleOf(read(&sensorv1.File{Path: path})); got != want {
			t.Errorf("%s: role %q, want %q", path, got, want)
		}
	}
	dropped := &sensorv1.File{Path: "/usr/lib/.cache/key", OverlayUpper: true}
	if got, _ := roleOf(read(dropped)); got != roleRead {
		t.Errorf("a file made since the container started: role %q", got)
	}
}
