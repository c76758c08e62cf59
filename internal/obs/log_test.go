package obs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestLoggerWritesJSONToFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log, err := NewLogger(out, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("too quiet to be seen")
	log.Named("probe").Info("attached", zap.String(FieldHook, "file_open"), zap.String(FieldRung, "lsm"))

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("not one JSON object: %v\n%s", err, text)
	}
	for key, want := range map[string]string{
		"level": "info", "logger": "probe", "message": "attached", FieldHook: "file_open", FieldRung: "lsm",
	} {
		if line[key] != want {
			t.Errorf("%s = %v, want %q", key, line[key], want)
		}
	}
	if line["time"] == nil {
		t.Error("no time")
	}
}

func TestLoggerWritesLinesToTerminals(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if !terminal(master) {
		t.Error("a pseudo terminal was not taken for a terminal")
	}
	line, err := encoder(true).EncodeEntry(zapcore.Entry{Level: zap.InfoLevel, Message: "ready"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text := line.String(); strings.HasPrefix(text, "{") || !strings.Contains(text, "ready") {
		t.Errorf("not a line for people: %q", text)
	}
}

func TestLoggerRefusesUnknownLevels(t *testing.T) {
	for _, level := range []string{"", "INFO", "fatal", "panic", "7"} {
		if _, err := NewLogger(os.Stderr, level); err == nil {
			t.Errorf("level %q was taken", level)
		}
	}
}
