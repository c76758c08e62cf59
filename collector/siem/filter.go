package siem

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// A filter is read with every revision: what it may cost is bounded.
const (
	maxFilterValues     = 64
	maxFilterValueBytes = 253 // the longest DNS name, above any kind or cluster
)

func checkFilter(f *alertv1.Filter) error {
	if _, known := sensorv1.Severity_name[int32(f.GetMinimumSeverity())]; !known {
		return status.Errorf(codes.InvalidArgument, "filter: there is no severity %d", f.GetMinimumSeverity())
	}
	for _, field := range []struct {
		name   string
		values []string
	}{{"kinds", f.GetKinds()}, {"clusters", f.GetClusters()}, {"namespaces", f.GetNamespaces()}} {
		if len(field.values) > maxFilterValues {
			return status.Errorf(codes.InvalidArgument, "filter: %d %s, more than %d", len(field.values), field.name, maxFilterValues)
		}
		for _, v := range field.values {
			if len(v) > maxFilterValueBytes {
				return status.Errorf(codes.InvalidArgument, "filter: one of %s has %d bytes, more than %d", field.name, len(v), maxFilterValueBytes)
			}
		}
	}
	return nil
}

// Passes says whether an alert meets every field of the filter that is set: what a
// [Store] does with one, unless it has its tables do the same.
func Passes(f *alertv1.Filter, a *alertv1.Alert) bool {
	in := func(values []string, value string) bool { return len(values) == 0 || slices.Contains(values, value) }
	return a.GetSeverity() >= f.GetMinimumSeverity() &&
		in(f.GetKinds(), a.GetKind()) &&
		in(f.GetClusters(), a.GetCluster()) &&
		in(f.GetNamespaces(), a.GetAsset().GetContainer().GetPod().GetNamespace())
}
