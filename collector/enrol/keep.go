package enrol

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

const (
	authorityFolder  = "ca"
	certificateFile  = "ca.crt"
	keyFile          = "ca.key"
	redactionKeyFile = "redaction.key"
	// A folder with this prefix was never finished.
	unfinished = ".ca.new-"
)

// OpenAuthority reads the CA that is kept in a data folder; made says that
// there was none and it is new. What is there only in part is an error and stays
// as it is: a CA that comes back as another one locks every agent out.
func OpenAuthority(dataDir, cluster string, now func() time.Time) (a *Authority, made bool, err error) {
	if err := tlsconf.CheckCluster(cluster); err != nil {
		return nil, false, fmt.Errorf("open CA: %w", err)
	}
	unlock, err := lock(dataDir)
	if err != nil {
		return nil, false, fmt.Errorf("open CA: lock data folder: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	folder := filepath.Join(dataDir, authorityFolder)
	there, err := has(folder)
	if err != nil {
		return nil, false, fmt.Errorf("open CA: %w", err)
	}
	if !there {
		if err := keepNewAuthority(dataDir, cluster, now); err != nil {
			return nil, false, fmt.Errorf("make CA: %w", err)
		}
	}
	// A new one is read back, too: what the next start will find is good.
	a, err = readAuthority(folder, cluster, now)
	if err != nil {
		return nil, false, fmt.Errorf("open CA: %w", err)
	}
	return a, !there, nil
}

// lock keeps other processes away for the moment in which the CA may be made: the
// command line opens it too.
func lock(dataDir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	folder, err := os.Open(dataDir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return folder.Close, nil // and with it the lock goes
}

// has tells whether a folder is there and not empty.
func has(folder string) (bool, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(entries) > 0, err
}

// keepNewAuthority makes a folder with all files, then gives it its name: there
// is no moment at which a part of it can be found.
func keepNewAuthority(dataDir, cluster string, now func() time.Time) error {
	a, err := makeAuthority(cluster, now)
	if err != nil {
		return err
	}
	key, err := tlsconf.EncodeKey(a.key)
	if err != nil {
		return err
	}
	stale, err := filepath.Glob(filepath.Join(dataDir, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, folder := range stale {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	folder, err := os.MkdirTemp(dataDir, unfinished) // mode 0700
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		certificateFile:  tlsconf.EncodeCertificates(a.certificate),
		keyFile:          key,
		redactionKeyFile: []byte(hex.EncodeToString(a.redactionKey) + "\n"),
	} {
		if err := tlsconf.WriteSecret(filepath.Join(folder, name), data); err != nil {
			return errors.Join(err, os.RemoveAll(folder))
		}
	}
	if err := os.Rename(folder, filepath.Join(dataDir, authorityFolder)); err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	return tlsconf.SyncFolder(dataDir)
}

func readAuthority(folder, cluster string, now func() time.Time) (*Authority, error) {
	files := make(map[string][]byte)
	var missing []string
	for _, name := range []string{certificateFile, keyFile, redactionKeyFile} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
		} else if err != nil {
			return nil, err
		}
		files[name] = data
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s has lost %s: restore it from a backup; only to begin anew, with every agent enrolled again, remove the folder",
			folder, strings.Join(missing, " and "))
	}
	a := &Authority{cluster: cluster, now: now}
	certificates, err := tlsconf.ParseCertificates(files[certificateFile])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(folder, certificateFile), err)
	}
	a.certificate = certificates[0]
	if a.key, err = tlsconf.ParseKey(files[keyFile]); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(folder, keyFile), err)
	}
	if a.redactionKey, err = hex.DecodeString(string(bytes.TrimSpace(files[redactionKeyFile]))); err != nil || len(a.redactionKey) != redactionKeyBytes {
		return nil, fmt.Errorf("read %s: not %d bytes in hexadecimal", filepath.Join(folder, redactionKeyFile), redactionKeyBytes)
	}
	return a, a.check(folder)
}

// check tells parts that do not belong together, or no longer to this day.
func (a *Authority) check(folder string) error {
	public, ok := a.certificate.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !a.certificate.IsCA:
		return fmt.Errorf("the certificate in %s is no CA's", folder)
	case !ok || !public.Equal(a.key.Public()):
		return fmt.Errorf("certificate and key in %s do not belong together", folder)
	case a.certificate.Subject.CommonName != a.cluster:
		return fmt.Errorf("the CA in %s is of cluster %.80q, the configuration says %q: agents know the cluster by it, it cannot be renamed",
			folder, a.certificate.Subject.CommonName, a.cluster)
	case a.now().After(a.certificate.NotAfter):
		return fmt.Errorf("the CA in %s expired on %s", folder, a.certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
