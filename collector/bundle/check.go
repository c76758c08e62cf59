package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// What an answer says of rules that do not load; a person mends the first and asks again.
const (
	maxProblems     = 20
	maxProblemBytes = 8 << 10
)

// check reads a bundle and says why no agent could use it: what its rules are wrong in,
// by file and line. now decides which exceptions have expired.
func check(signed *sensorv1.SignedBundle, now time.Time) (bundle.Bundle, error) {
	if n := len(signed.GetSignature()); n != ed25519.SignatureSize {
		return bundle.Bundle{}, fmt.Errorf("the signature has %d bytes, Ed25519's have %d: is the bundle signed?", n, ed25519.SignatureSize)
	}
	if n := len(signed.GetKeyId()); n != sha256.Size {
		return bundle.Bundle{}, fmt.Errorf("the key's id has %d bytes, want %d", n, sha256.Size)
	}
	b, err := bundle.FromProto(signed).Unverified()
	if err != nil {
		return bundle.Bundle{}, err
	}
	if b.Serial > math.MaxInt64 { // what the store takes
		return bundle.Bundle{}, fmt.Errorf("serial %d is above %d", b.Serial, math.MaxInt64)
	}
	sources, err := builtinSources()
	if err != nil {
		return bundle.Bundle{}, err
	}
	sources = append(sources, sourcesOf(b)...)
	_, err = rule.Load(sources, now)
	if err == nil {
		_, err = auditrule.Load(sources, now)
	}
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("the rules do not load together with the built-in ones:\n%s", brief(err))
	}
	return b, nil
}

// brief is the beginning of an error that may have thousands of lines.
func brief(err error) string {
	text, more := strings.ToValidUTF8(err.Error(), "\ufffd"), false
	if lines := strings.SplitAfterN(text, "\n", maxProblems+1); len(lines) > maxProblems {
		text, more = strings.Join(lines[:maxProblems], ""), true
	}
	if len(text) > maxProblemBytes {
		end := maxProblemBytes
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text, more = text[:end], true
	}
	if more {
		text = strings.TrimSuffix(text, "\n") + "\nand more"
	}
	return text
}
