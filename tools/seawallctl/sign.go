package main

import (
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/rule"
)

// makeBundleKey writes a new pair of keys, and nothing over an old one.
func makeBundleKey(args []string, out io.Writer, _ time.Time) error {
	if len(args) != 1 {
		return errors.New("name the key: its files are NAME.key and NAME.pub")
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	secret, err := bundle.EncodePrivateKey(private)
	if err != nil {
		return err
	}
	open, err := bundle.EncodePublicKey(public)
	if err != nil {
		return err
	}
	if err := writeNew(args[0]+".key", secret, 0o600); err != nil {
		return err
	}
	if err := writeNew(args[0]+".pub", open, 0o644); err != nil {
		return errors.Join(err, os.Remove(args[0]+".key"))
	}
	_, err = fmt.Fprintf(out, "key %s: sign with %s.key, which stays with you; give agents %s.pub as bundle_keys\n",
		bundle.IDOf(public), args[0], args[0])
	return err
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write key: %w", err), os.Remove(path))
	}
	return nil
}

// signBundle signs the rule files of paths, if they load on an agent that has no rules
// but the built-in ones.
func signBundle(args []string, out io.Writer, now time.Time) error {
	flags := flag.NewFlagSet("seawallctl bundle sign", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, not printed twice
	key := flags.String("key", "", "sign with the private key in this `file`")
	serial := flags.Uint64("serial", 0, "`number` above that of every bundle that agents have had")
	version := flags.String("version", "", "`name` of this bundle, for people")
	to := flags.String("out", "", "write the signed bundle to this `file`")
	paths, err := parseFlags(flags, args, out)
	if err != nil {
		return err
	}
	if *key == "" || *serial == 0 || *version == "" || *to == "" || len(paths) == 0 {
		return errors.New("needs --key, --serial above 0, --version, --out and the files or folders to sign")
	}
	private, err := bundle.ReadPrivateKey(*key)
	if err != nil {
		return err
	}
	b := bundle.Bundle{Serial: *serial, Version: *version, Signed: now}
	var given []rule.Source
	for _, path := range paths {
		files, sources, err := readBundleFiles(path)
		if err != nil {
			return err
		}
		b.Files, given = append(b.Files, files...), append(given, sources...)
	}
	signed, err := bundle.Sign(b, private)
	if err != nil {
		return err
	}
	if err := checkBundle(given, out, now); err != nil {
		return fmt.Errorf("not signed: %w", err)
	}
	data, err := signed.Encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(*to, data, 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return describeBundle(b, signed, out)
}

// readBundleFiles reads a rule file, or those of a folder, under the names they have in
// a bundle and under those they have here.
func readBundleFiles(path string) (files []bundle.File, sources []rule.Source, err error) {
	if sources, err = rule.ReadPath(path); err != nil {
		return nil, nil, err
	}
	for i := range sources {
		sources[i].Origin = rule.OriginBundle
		name, err := filepath.Rel(path, sources[i].Name)
		if err != nil {
			return nil, nil, err
		}
		if name == "." { // a file, not a folder
			name = filepath.Base(path)
		}
		files = append(files, bundle.File{Name: filepath.ToSlash(name), Data: sources[i].Data})
	}
	return files, sources, nil
}

// checkBundle loads rule files as an agent does, and shows what they hold and cost.
func checkBundle(given []rule.Source, out io.Writer, now time.Time) error {
	brought, _, err := sources(nil)
	if err != nil {
		return err
	}
	report := lint(slices.Concat(brought, given), now)
	keep(&report, given)
	if err := report.Write(out); err != nil {
		return err
	}
	if n := len(report.Errors); n > 0 {
		return fmt.Errorf("problems: %d", n)
	}
	_, err = fmt.Fprintf(out, "rules: %d, exceptions: %d, problems: 0\n", len(report.Rules)+len(report.Audit), len(report.Exceptions))
	return err
}

// describeBundle prints a line about a bundle and one for each file.
func describeBundle(b bundle.Bundle, signed bundle.Signed, out io.Writer) error {
	at := "at a time that it does not say"
	if !b.Signed.IsZero() {
		at = "on " + b.Signed.UTC().Format(time.RFC3339)
	}
	var id bundle.KeyID
	copy(id[:], signed.KeyID)
	if _, err := fmt.Fprintf(out, "bundle %q, serial %d, signed with key %s %s\n", b.Version, b.Serial, id, at); err != nil {
		return err
	}
	for _, f := range b.Files {
		if _, err := fmt.Fprintf(out, "    %s, %d bytes\n", f.Name, len(f.Data)); err != nil {
			return err
		}
	}
	return nil
}

// verifyBundle checks a signed bundle as an agent does that trusts a key.
func verifyBundle(args []string, out io.Writer, now time.Time) error {
	flags := flag.NewFlagSet("seawallctl bundle verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, not printed twice
	key := flags.String("key", "", "check with the public key in this `file`")
	paths, err := parseFlags(flags, args, out)
	if err != nil {
		return err
	}
	if *key == "" || len(paths) != 1 {
		return errors.New("needs --key and one signed bundle")
	}
	keys, err := bundle.ReadKeys(*key)
	if err != nil {
		return err
	}
	signed, err := readBundle(paths[0])
	if err != nil {
		return err
	}
	b, err := keys.Verify(signed)
	if err != nil {
		return fmt.Errorf("%s: %w", paths[0], err)
	}
	var given []rule.Source
	for _, f := range b.Files {
		given = append(given, rule.Source{Name: "bundle/" + f.Name, Data: f.Data, Origin: rule.OriginBundle})
	}
	return errors.Join(checkBundle(given, out, now), describeBundle(b, signed, out))
}

// readBundle reads a file that bundle sign has written; of a larger one no more than
// shows that it is none.
func readBundle(path string) (bundle.Signed, error) {
	f, err := os.Open(path)
	if err != nil {
		return bundle.Signed{}, fmt.Errorf("read bundle: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, bundle.MaxBytes+1))
	if err != nil {
		return bundle.Signed{}, fmt.Errorf("read bundle: %w", err)
	}
	signed, err := bundle.Decode(data)
	if err != nil {
		return bundle.Signed{}, fmt.Errorf("%s: %w", path, err)
	}
	return signed, nil
}
