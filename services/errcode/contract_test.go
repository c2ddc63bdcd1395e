package errcode

import (
	"slices"
	"strings"
	"testing"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func TestTheTableHoldsExactlyThePublicReasons(t *testing.T) {
	var public []string
	for _, name := range moldauv1.ErrorReason_name {
		if name != "ERROR_REASON_UNSPECIFIED" {
			public = append(public, strings.TrimPrefix(name, "ERROR_REASON_"))
		}
	}
	var ours []string
	for _, r := range table {
		ours = append(ours, string(r.Reason))
	}
	slices.Sort(public)
	slices.Sort(ours)
	if !slices.Equal(public, ours) {
		t.Errorf("moldau.v1.ErrorReason and the error table differ:\n%v\n%v", public, ours)
	}
}
