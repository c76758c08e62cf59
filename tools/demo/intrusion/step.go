// Package intrusion holds the two halves of the demo as named steps: what a web
// shop's containers do on an honest day, and a break-in through its upload form.
//
// Every step makes sure that it did what its name says. Nothing of the intrusion
// leaves the stage or changes the host: its addresses exist in the stage's
// network only, its payload is the project's own harmless actor, and the kernel
// refuses its try at a kernel knob, which is checked.
package intrusion

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// Step is one act.
type Step struct {
	Name string
	Do   func(context.Context) error
}

// browser visits the shop.
type browser struct {
	client *http.Client
	shop   string
}

// get fetches a page; anything but 200 is an error.
func (b browser) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.shop+path, nil)
	if err != nil {
		return "", err
	}
	return b.send(request)
}

// post sends a form.
func (b browser) post(ctx context.Context, path string, form url.Values) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.shop+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(request)
}

// upload sends a file through the shop's form for pictures.
func (b browser) upload(ctx context.Context, name string, content []byte) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("picture", name)
	if err != nil {
		return err
	}
	_, _ = part.Write(content) // never fails: into memory
	form.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.shop+"/upload.php", &body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	page, err := b.send(request)
	if err != nil {
		return err
	}
	return expect(page, "/uploads/"+name)
}

func (b browser) send(request *http.Request) (string, error) {
	response, err := b.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %.200s", request.Method, request.URL.Path, response.Status, body)
	}
	return string(body), nil
}

// expect returns an error unless the text holds the word.
func expect(text, word string) error {
	if !strings.Contains(text, word) {
		return fmt.Errorf("expected %q in: %.400s", word, text)
	}
	return nil
}
