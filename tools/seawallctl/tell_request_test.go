package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// A port-forward says where it may have led to, and what may be another one's.
func TestTellConnections(t *testing.T) {
	at := func(s int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(1_700_000_000+s, 0)) }
	var b bytes.Buffer
	tellConnections(&b, "  ", &alertv1.Request{ConnectionsOmitted: 2, Connections: []*alertv1.Connection{
		{Ip: "127.0.0.1", Port: 8080, Count: 1, First: at(0), Last: at(0)},
		{Ip: "::1", Port: 5432, Count: 4, First: at(0), Last: at(9), Ambiguous: 3},
		{Ip: "127.0.0.1", Port: 90, Count: 2, First: at(0), Last: at(1), Ambiguous: 2},
	}})
	first, ninth, second := clock(at(0).AsTime()), clock(at(9).AsTime()), clock(at(1).AsTime())
	want := "  " + first + "  1 × to 127.0.0.1:8080\n" +
		"  " + first + "  4 × to [::1]:5432, until " + ninth + "; 3 of them may be another port-forward's\n" +
		"  " + first + "  2 × to 127.0.0.1:90, until " + second + "; all may be another port-forward's\n" +
		"  and to 2 other places\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
