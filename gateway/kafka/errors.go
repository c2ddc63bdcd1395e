package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/services/errcode"
)

// codeOf is the code of an error of the doors below, 0 for none. The table is
// errcode's.
func codeOf(err error) int16 {
	if err == nil {
		return 0
	}
	return errcode.ReasonOf(err).Kafka()
}

// dataCodeOf is codeOf for partitions that metadata knows: a storage node that
// does not know them yet, or any more, is one that does not lead them. Clients
// then look at metadata again; of some other codes they would despair.
func dataCodeOf(err error) int16 {
	switch errcode.ReasonOf(err) {
	case errcode.UnknownTopicID, errcode.UnknownPartition, errcode.UnknownTopic, errcode.ShuttingDown,
		errcode.FencedLeaderEpoch, errcode.UnknownLeaderEpoch: // of the gateway's own epoch, not of the client's
		return kerr.NotLeaderForPartition.Code
	default:
		return codeOf(err)
	}
}

// fetchCodeOf is dataCodeOf for Fetch, where Java's consumer dies of codes that
// it does not expect.
func fetchCodeOf(err error) int16 {
	switch errcode.ReasonOf(err) {
	case errcode.NodeUnavailable, errcode.RequestTimedOut, errcode.Canceled, errcode.ResourceExhausted:
		return kerr.NotLeaderForPartition.Code
	default:
		return dataCodeOf(err)
	}
}
