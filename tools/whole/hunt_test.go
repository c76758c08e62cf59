package whole

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// windowBytes is how much of a text has to stand somewhere to be found there.
const windowBytes = 12

// hunt looks for parts of texts, as they are and encoded, in bytes of any kind.
type hunt struct {
	// of is the text that a part belongs to, and how that was encoded.
	raw    map[[windowBytes]byte]string
	base64 map[[windowBytes*4/3 - 1]byte]string // where 12 bytes begin within a group, 15 digits are theirs alone
	hex    map[[windowBytes * 2]byte]string
}

// newHunt takes texts of at least windowBytes.
func newHunt(texts []string) *hunt {
	h := &hunt{raw: map[[windowBytes]byte]string{}, base64: map[[windowBytes*4/3 - 1]byte]string{}, hex: map[[windowBytes * 2]byte]string{}}
	for _, text := range texts {
		quoted, err := json.Marshal(text)
		if err != nil {
			panic(err)
		}
		for how, form := range map[string]string{
			"": text, "as JSON ": strings.Trim(string(quoted), `"`), "in a query ": url.QueryEscape(text), "in a path ": url.PathEscape(text),
		} {
			for i := 0; i+windowBytes <= len(form); i++ {
				h.raw[[windowBytes]byte([]byte(form[i:i+windowBytes]))] = how + text
			}
		}
		for before := range 3 {
			shifted := append(make([]byte, before), text...)
			first, last := (8*before+5)/6, 8*len(shifted)/6
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				digits := encoding.EncodeToString(shifted)[first:last]
				for i := 0; i+windowBytes*4/3-1 <= len(digits); i++ {
					h.base64[[windowBytes*4/3 - 1]byte([]byte(digits[i:i+windowBytes*4/3-1]))] = "in base64 " + text
				}
			}
		}
		for _, digits := range []string{hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text)))} {
			for i := 0; i+2*windowBytes <= len(digits); i += 2 {
				h.hex[[windowBytes * 2]byte([]byte(digits[i:i+2*windowBytes]))] = "in hex " + text
			}
		}
	}
	return h
}

// in returns what it finds in bytes, with what is around it.
func (h *hunt) in(b []byte) map[string]string {
	found := map[string]string{}
	note := func(what string, at int) {
		if _, known := found[what]; !known {
			found[what] = fmt.Sprintf("%q", b[max(0, at-60):min(len(b), at+60)])
		}
	}
	for i := 0; i+windowBytes <= len(b); i++ {
		if what, ok := h.raw[[windowBytes]byte(b[i:i+windowBytes])]; ok {
			note(what, i)
		}
		if i+windowBytes*4/3-1 <= len(b) {
			if what, ok := h.base64[[windowBytes*4/3 - 1]byte(b[i:i+windowBytes*4/3-1])]; ok {
				note(what, i)
			}
		}
		if i+2*windowBytes <= len(b) {
			if what, ok := h.hex[[2 * windowBytes]byte(b[i:i+2*windowBytes])]; ok {
				note(what, i)
			}
		}
	}
	return found
}

// files returns what it finds in files and in all files of folders, and how many bytes it saw.
func (h *hunt) files(paths ...string) (found map[string]string, size int, err error) {
	found = map[string]string{}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			size += len(text)
			for what, around := range h.in(text) {
				found[what] = name + ": " + around
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return found, size, nil
}
