package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestTellAudit(t *testing.T) {
	at := func(hour, second int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 11, 22, hour, 0, second, 0, time.UTC))
	}
	answer := &collectorv1.AuditStatusResponse{
		State: &collectorv1.AuditState{
			Cluster: "harbour\x1b[2J", Time: at(12, 30), Condition: collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, Since: at(11, 0), Newest: at(12, 29),
			Reason: "file: nothing has come yet",
			Sources: []*collectorv1.AuditSource{
				{Name: "webhook", Kind: "webhook", Condition: collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, Since: at(11, 0), Newest: at(12, 29), Received: at(12, 30),
					Delay: durationpb.New(30 * time.Second), Skew: durationpb.New(-3 * time.Second), Skewed: true, Events: 7, Repeated: 6, Unreadable: 5, TooLarge: 4, Refused: 3},
				{Name: "file", Kind: "file", Condition: collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED, Since: at(10, 0)},
			},
			Gaps: []*collectorv1.AuditGap{{Id: "1", Gap: &sensorv1.Gap{Since: at(10, 0), Until: at(11, 0), Reason: "silent"}},
				{Id: "2", Source: "webhook", Gap: &sensorv1.Gap{Since: at(10, 0), Until: at(10, 5), Reason: "unreadable", Count: 2}}},
		},
		Blind: []*collectorv1.BlindRule{{Rule: "secrets-swept", Reason: "secrets are not recorded\nat all"}},
	}
	var out bytes.Buffer
	if err := tellAudit(&out, answer); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"audit receiving since 2026-11-22 11:00:00.000", "newest 2026-11-22 12:00:29.000 by the API server's clock, 1s ago", "because file: nothing has come yet",
		"webhook webhook receiving 2026-11-22 11:00:00.000 2026-11-22 12:00:29.000 2026-11-22 12:00:30.000 30s -3s (SKEWED) 7 6 5 4 3",
		"file file configured 2026-11-22 10:00:00.000 - - - - 0 0 0 0 0",
		"1 2026-11-22 10:00:00.000 2026-11-22 11:00:00.000 1h0m0s ? silent -", "2 2026-11-22 10:00:00.000 2026-11-22 10:00:05.000 5s 2 unreadable webhook",
		"secrets-swept secrets are not recorded",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if t.Failed() || strings.ContainsRune(out.String(), 0x1b) {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	if err := tellAudit(&out, &collectorv1.AuditStatusResponse{State: &collectorv1.AuditState{Cluster: "harbour", Condition: collectorv1.AuditCondition_AUDIT_CONDITION_OFF, Since: at(1, 0), Reason: "no audit source is configured"}}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasSuffix(got, "audit     off since 2026-11-22 01:00:00.000\nbecause   no audit source is configured\n") {
		t.Error(got)
	}
}
