package enrol

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestServerRenewsItself(t *testing.T) {
	c := newClock()
	a, _, err := OpenAuthority(t.TempDir(), "prod", c.now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	serials := map[string]bool{}
	var s *Server
	wait := func(ctx context.Context, d time.Duration) error {
		leaf := s.Source().Material().Certificate.Leaf
		serials[leaf.SerialNumber.String()] = true
		if now := c.now(); now.After(leaf.NotAfter.Add(-collectorLifetime/4)) || now.Before(leaf.NotBefore) {
			t.Errorf("at %v the certificate runs from %v to %v", now, leaf.NotBefore, leaf.NotAfter)
			cancel()
		}
		if d <= 0 || d > longestWait {
			t.Errorf("sleeps for %v", d)
			cancel()
		}
		c.advance(d)
		if c.now().After(today.AddDate(0, 0, 15)) {
			cancel()
		}
		return ctx.Err()
	}
	if s, err = NewServer(a, []string{"collector.seawall.svc", "10.0.0.1", "::1", "*.example.org"}, wait, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	// 15 days at two thirds of 7.
	if len(serials) != 4 {
		t.Errorf("%d certificates", len(serials))
	}
	leaf := s.Source().Material().Certificate.Leaf
	if len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 2 || len(leaf.URIs) != 1 || leaf.URIs[0].String() != "seawall://prod/collector" {
		t.Errorf("names %v %v %v", leaf.DNSNames, leaf.IPAddresses, leaf.URIs)
	}
	for _, bad := range []string{"", "a b", "-a", "https://a", "a:443", "*"} {
		if _, err := NewServer(a, []string{bad}, wait, zap.NewNop()); err == nil {
			t.Errorf("name %q is taken", bad)
		}
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Sleep(ctx, time.Hour); err == nil {
		t.Error("slept on")
	}
	if err := Sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}
