package intrusion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/seawall-security/seawall/tools/demo/stage"
)

// Honest is the shop's honest day: each step resembles one of the intrusion's and
// must raise nothing.
func Honest(set *stage.Stage) []Step {
	visitor := browser{client: set.HTTP(stage.Visitor), shop: set.URL()}
	return []Step{
		{"visit pages", func(ctx context.Context) error { return visitPages(ctx, visitor) }},
		{"upload a picture", func(ctx context.Context) error { return uploadPicture(ctx, visitor) }},
		{"write a note", func(ctx context.Context) error { return writeNote(ctx, visitor) }},
		{"probe the shop's health", func(ctx context.Context) error {
			_, err := set.Exec(ctx, "/bin/sh", "-c", "curl -fsS -o /dev/null http://127.0.0.1:8080/")
			return err
		}},
		{"turn over the logs", func(ctx context.Context) error {
			_, err := set.Exec(ctx, "/usr/local/bin/housekeeping")
			return err
		}},
		{"fetch exchange rates", func(ctx context.Context) error { return fetchRates(ctx, set, visitor) }},
	}
}

func visitPages(ctx context.Context, visitor browser) error {
	for _, path := range []string{"/", "/notes.php", "/upload.php", "/?page=2"} {
		if _, err := visitor.get(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func uploadPicture(ctx context.Context, visitor browser) error {
	var logo bytes.Buffer
	if err := png.Encode(&logo, image.NewGray(image.Rect(0, 0, 16, 16))); err != nil {
		return fmt.Errorf("draw a picture: %w", err)
	}
	if err := visitor.upload(ctx, "logo.png", logo.Bytes()); err != nil {
		return err
	}
	got, err := visitor.get(ctx, "/uploads/logo.png")
	if err == nil && got != logo.String() {
		err = errors.New("the picture came back changed")
	}
	return err
}

func writeNote(ctx context.Context, visitor browser) error {
	const text = "two shackles for pier 4"
	page, err := visitor.post(ctx, "/notes.php", url.Values{"text": {text}})
	if err != nil {
		return err
	}
	return expect(page, text)
}

// fetchRates downloads data, as a scheduled job does, and never runs it.
func fetchRates(ctx context.Context, set *stage.Stage, visitor browser) error {
	stop, err := serve(set, netip.AddrPortFrom(stage.Visitor, 80), "/rates.json", []byte(`{"DKK": 7.46}`))
	if err != nil {
		return err
	}
	defer stop()
	if _, err := set.Exec(ctx, "/bin/sh", "-c", "curl -fsS -o /var/www/data/rates.json http://"+stage.Visitor.String()+"/rates.json"); err != nil {
		return err
	}
	page, err := visitor.get(ctx, "/")
	if err != nil {
		return err
	}
	return expect(page, "7.46 DKK")
}

// serve offers one file by HTTP outside of the pod until stop is called.
func serve(set *stage.Stage, address netip.AddrPort, path string, content []byte) (stop func(), err error) {
	listener, err := set.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	server := &http.Server{Handler: mux}
	ended := make(chan struct{})
	// Ends when stop closes the server.
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // always ends with an error, of its Close
	}()
	return func() {
		server.Close()
		<-ended
	}, nil
}
