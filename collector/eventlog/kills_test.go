package eventlog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMessagesSurviveKillAfterKill: nobody closes the log in between.
func TestMessagesSurviveKillAfterKill(t *testing.T) {
	dir := t.TempDir()
	promised := map[string]string{} // text by position
	for life := range 6 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), writerFolder+"="+dir, fmt.Sprintf("%s=%d", writerLife, life))
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			position, text, _ := strings.Cut(lines.Text(), " ")
			if before, taken := promised[position]; taken {
				t.Errorf("life %d: position %s was %s before, and is %s now", life, position, before, text)
			}
			promised[position] = text
			if n == 20+life*7 {
				_ = writer.Process.Kill() // it has not ended
			}
		}
		_ = writer.Wait() // killed
	}
	l := open(t, dir, 0)
	found := map[string]string{}
	for _, line := range read(t, l, 0) {
		position, text, _ := strings.Cut(line, " ")
		found[position] = text
	}
	for position, text := range promised {
		if found[position] != text {
			t.Errorf("position %s was promised for %s and has %q", position, text, found[position])
		}
	}
}
