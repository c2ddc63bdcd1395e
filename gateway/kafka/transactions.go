package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/services/errcode"
)

// txnCodeOf is groupCodeOf for calls about transactions. Clients from before
// the version know no PRODUCER_FENCED, and hear INVALID_PRODUCER_EPOCH
// (KIP-588).
func txnCodeOf(err error, version, knowsFenced int16) int16 {
	if version < knowsFenced && errcode.Is(err, errcode.ProducerFenced) {
		return kerr.InvalidProducerEpoch.Code
	}
	return groupCodeOf(err)
}
