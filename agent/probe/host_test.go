package probe

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRefusalsSayWhatToDo(t *testing.T) {
	missing := errors.New("no BTF found for kernel version 1.2.3")
	err := (&Host{noBTF: missing}).usable()
	if !errors.Is(err, missing) || !strings.Contains(err.Error(), "CONFIG_DEBUG_INFO_BTF") {
		t.Errorf("without BTF: %v", err)
	}
	if err := (&Host{BTF: true}).usable(); err != nil {
		t.Errorf("with BTF: %v", err)
	}
	for _, refusal := range []error{unix.EPERM, unix.EACCES} {
		err := forbidden(fmt.Errorf("make map: %w", refusal))
		if !errors.Is(err, refusal) || !strings.Contains(err.Error(), "CAP_BPF") {
			t.Errorf("without rights: %v", err)
		}
	}
	if err := forbidden(missing); err != missing { //nolint:errorlint // the very same
		t.Errorf("with rights: %v", err)
	}
}
