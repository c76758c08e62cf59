package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/bundle"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// judgeEvery is how soon an exception that ended counts no more.
const judgeEvery = time.Hour

// judge has the rules for requests to the Kubernetes API: the built-in ones and those of the
// bundle that agents are sent. Correlation runs them; what of them is blind it knows itself.
type judge struct {
	bundles  *bundle.Bundles
	now      func() time.Time
	logger   *zap.Logger
	set      atomic.Pointer[auditrule.Set]
	excepted rule.Excepted

	loading sync.Mutex // one at a time, so that the last one reads what there is then

	seen *auditrule.Coverage // of the audit sources' health, which calls one at a time
}

// newJudge loads the rules. A bundle whose rules do not load with this program's built-in
// ones is left out, and said: it was pushed to another version.
func newJudge(ctx context.Context, bundles *bundle.Bundles, now func() time.Time, logger *zap.Logger) (*judge, error) {
	j := &judge{bundles: bundles, now: now, logger: logger.Named("judge"), seen: auditrule.NewCoverage()}
	if err := j.load(ctx); err != nil {
		j.logger.Error("the bundle's audit rules are left out", zap.Error(err))
		set, err := bundle.AuditRules("", nil, now())
		if err != nil {
			return nil, err
		}
		j.set.Store(set)
	}
	return j, nil
}

// load puts what there is now in force; after an error what was is.
func (j *judge) load(ctx context.Context) error {
	j.loading.Lock()
	defer j.loading.Unlock()
	var held *sensorv1.SignedBundle
	switch pushed, err := j.bundles.Pushed(ctx); {
	case err == nil:
		held = pushed.Signed
	case !errors.Is(err, store.ErrNoRows):
		return err
	}
	set, err := bundle.AuditRules("", held, j.now())
	if err != nil {
		return fmt.Errorf("load audit rules: %w", err)
	}
	j.set.Store(set)
	return nil
}

// reload loads again, and says if that fails.
func (j *judge) reload(ctx context.Context) {
	if err := j.load(ctx); err != nil && ctx.Err() == nil {
		j.logger.Error("audit rules stay as they were", zap.Error(err))
	}
}

// run loads again every hour, until ctx ends.
func (j *judge) run(ctx context.Context) error {
	every := time.NewTicker(judgeEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			j.reload(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// Observe implements audit.Coverage.
func (j *judge) Observe(e *auditv1.Event) { j.seen.Observe(j.set.Load(), e) }

// Blind implements audit.Coverage.
func (j *judge) Blind() []*collectorv1.BlindRule {
	var out []*collectorv1.BlindRule
	for _, b := range j.seen.Blind(j.set.Load()) {
		out = append(out, &collectorv1.BlindRule{Rule: b.Rule.ID, Reason: b.Reason()})
	}
	return out
}

var exceptedDesc = prometheus.NewDesc("seawall_collector_audit_excepted_total", "Matches of audit rules that an exception took out.", []string{"rule", "exception"}, nil)

// Describe implements prometheus.Collector.
func (j *judge) Describe(ch chan<- *prometheus.Desc) { ch <- exceptedDesc }

// Collect implements prometheus.Collector.
func (j *judge) Collect(ch chan<- prometheus.Metric) {
	for _, e := range j.excepted.Counts() {
		ch <- prometheus.MustNewConstMetric(exceptedDesc, prometheus.CounterValue, float64(e.Count), e.Rule, e.Exception)
	}
}
