package stage

import (
	"bytes"
	"strings"
	"sync"
)

// outputBytes bounds what is kept of a program's output.
const outputBytes = 1 << 20

// output collects what a program writes, from several streams at once.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	awaited map[string]chan struct{} // closed when the text holds the key
}

func newOutput() *output { return &output{awaited: map[string]chan struct{}{}} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p[:min(len(p), outputBytes-o.text.Len())])
	o.tell()
	return len(p), nil
}

// saw is closed when the text holds the word.
func (o *output) saw(word string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := make(chan struct{})
	o.awaited[word] = told
	o.tell()
	return told
}

// tell closes the channels whose word has come. The caller holds mu.
func (o *output) tell() {
	for word, told := range o.awaited {
		if strings.Contains(o.text.String(), word) {
			close(told)
			delete(o.awaited, word)
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
