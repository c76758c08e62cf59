package capture

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/agent/recording"
)

// Origin is how a recording came about, in the words of its header.
type Origin struct {
	Made string
	Note string
}

// Write writes the selected part as a recording and returns how many records it
// has. Text that names this machine or the recorder's own folders is masked.
func (l *Log) Write(w io.Writer, o Origin, s Selection) (records int, err error) {
	header := l.header
	header.Made, header.Note = o.Made, o.Note
	out, err := recording.NewWriter(w, header)
	if err != nil {
		return 0, err
	}
	secrets, err := ownNames()
	if err != nil {
		return 0, err
	}
	for _, e := range l.pick(s) {
		if e.Container != nil {
			if err := out.Container(e.Container); err != nil {
				return records, err
			}
			continue
		}
		raw := slices.Clone(e.Raw)
		for _, secret := range secrets {
			mask(raw, secret)
		}
		if err := out.Record(e.Ring, raw); err != nil {
			return records, err
		}
		records++
	}
	return records, nil
}

// WriteFile is Write to a file, which appears only when it is whole.
func (l *Log) WriteFile(path string, o Origin, s Selection) (records int, err error) {
	var text bytes.Buffer
	if records, err = l.Write(&text, o, s); err != nil {
		return 0, err
	}
	if records == 0 {
		return 0, fmt.Errorf("write %s: nothing was recorded of what was chosen", path)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return 0, fmt.Errorf("write recording: %w", err)
	}
	return records, nil
}

// Made lists the containers that were made since a time, of those that were named.
func (l *Log) Made(since time.Time) []string {
	var made []string
	for _, e := range l.entries {
		if c := e.Container; c != nil && c.Created.After(since) && !slices.Contains(made, c.ID) {
			made = append(made, c.ID)
		}
	}
	return made
}

// shortest is the length from which a host's name can be told from chance.
const shortest = 6

// ownNames are the names that say where a recording was made: the host's, the
// folder the recorder was started in, that of its program, the user's home. The
// home of root is the same everywhere and containers have it too.
func ownNames() ([]string, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	names := []string{filepath.Dir(program), os.Getenv("PWD"), os.Getenv("OLDPWD")}
	if home, err := os.UserHomeDir(); err == nil && home != "/root" {
		names = append(names, home)
	}
	if len(host) >= shortest {
		names = append(names, host)
	}
	// A name of one part, such as / or /tmp, is nobody's own.
	return slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, "/") && strings.Count(filepath.Clean(name), "/") < 2 || name == ""
	}), nil
}

// mask overwrites a word where it occurs; slashes stay, so that paths stay paths.
func mask(raw []byte, word string) {
	for at := 0; ; {
		i := bytes.Index(raw[at:], []byte(word))
		if i < 0 {
			return
		}
		for j := at + i; j < at+i+len(word); j++ {
			if raw[j] != '/' {
				raw[j] = 'x'
			}
		}
		at += i + len(word)
	}
}
