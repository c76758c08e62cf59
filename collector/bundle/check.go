package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of a bundle. Agents keep it in memory and on a small disk.
const (
	// MaxBytes bounds an encoded bundle: some hundred times the built-in rules.
	MaxBytes     = 2 << 20
	maxFiles     = 1024
	maxNameBytes = 256
	// What an answer says of rules that do not load; a person mends the first and asks again.
	maxProblems     = 20
	maxProblemBytes = 8 << 10
)

// builtinPrefix begins the names of the rules that agents bring.
const builtinPrefix = "builtin/"

// check reads a bundle and says why no agent could use it: what its rules are wrong in,
// by file and line. now decides which exceptions have expired.
func check(signed *sensorv1.SignedBundle, now time.Time) (*sensorv1.Bundle, error) {
	if n := len(signed.GetSignature()); n != ed25519.SignatureSize {
		return nil, fmt.Errorf("the signature has %d bytes, Ed25519's have %d: is the bundle signed?", n, ed25519.SignatureSize)
	}
	if n := len(signed.GetKeyId()); n != sha256.Size {
		return nil, fmt.Errorf("the key's id has %d bytes, want %d", n, sha256.Size)
	}
	b, err := decode(signed)
	if err != nil {
		return nil, err
	}
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		return nil, err
	}
	for i := range sources {
		sources[i].Name = builtinPrefix + sources[i].Name
	}
	for _, file := range b.GetFiles() {
		sources = append(sources, rule.Source{Name: file.GetName(), Data: file.GetData()})
	}
	if _, err := rule.Load(sources, now); err != nil {
		return nil, fmt.Errorf("the rules do not load together with the built-in ones:\n%s", brief(err))
	}
	return b, nil
}

// decode reads what is signed.
func decode(signed *sensorv1.SignedBundle) (*sensorv1.Bundle, error) {
	if n := len(signed.GetBundle()); n > MaxBytes {
		return nil, fmt.Errorf("the bundle has %d bytes, more than %d", n, MaxBytes)
	}
	b := &sensorv1.Bundle{}
	if err := proto.Unmarshal(signed.GetBundle(), b); err != nil {
		return nil, errors.New("what is signed is no bundle")
	}
	if b.GetSerial() == 0 || b.GetSerial() > math.MaxInt64 {
		return nil, fmt.Errorf("serial %d is not from 1 to %d", b.GetSerial(), math.MaxInt64)
	}
	if len(b.GetVersion()) > maxNameBytes || len(b.GetFiles()) > maxFiles {
		return nil, fmt.Errorf("a bundle has at most %d files, its version at most %d bytes", maxFiles, maxNameBytes)
	}
	seen := make(map[string]bool)
	for i, file := range b.GetFiles() {
		switch name := file.GetName(); {
		case name == "" || len(name) > maxNameBytes || strings.HasPrefix(name, builtinPrefix):
			return nil, fmt.Errorf("file %d: its name is empty, has more than %d bytes or begins with %s", i+1, maxNameBytes, builtinPrefix)
		case seen[name]:
			return nil, fmt.Errorf("file %q is there twice", name)
		}
		seen[file.GetName()] = true
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
