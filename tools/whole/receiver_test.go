package whole

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
)

// receiveArgument makes the test binary a receiver of webhooks: receive ADDRESS FILE.
const receiveArgument = "receive"

// receive appends the body of each request to a file as a line, and takes it.
func receive(address, path string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "receiving")
	var one sync.Mutex
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			one.Lock()
			_, err = out.Write(append(body, '\n'))
			one.Unlock()
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
}

// cutHalfLine takes away what a killed writer has written of its last line.
func cutHalfLine(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	end := len(text)
	for end > 0 && text[end-1] != '\n' {
		end--
	}
	return os.Truncate(path, int64(end))
}
