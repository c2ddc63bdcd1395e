package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// partitionOf finds a partition of a topic, or the code for a client that
// asked by name.
func partitionOf(t *metadataclient.Topic, index int32) (storageclient.PartitionID, int16) {
	if t == nil || routing.CheckPartition(t, index) != nil {
		return storageclient.PartitionID{}, kerr.UnknownTopicOrPartition.Code
	}
	return storageclient.PartitionID{Topic: t.ID, Index: index}, 0
}

// checkEpoch compares the leader epoch that a client knows, -1 for any, with
// the present one (KIP-320).
func checkEpoch(t *metadataclient.Topic, index, epoch int32) int16 {
	switch present := t.Partitions[index].LeaderEpoch; {
	case epoch >= 0 && epoch < present:
		return kerr.FencedLeaderEpoch.Code
	case epoch > present:
		return kerr.UnknownLeaderEpoch.Code
	default:
		return 0
	}
}

// target is one partition of a call to the node that leads it. A call puts the
// partition's own error into err.
type target struct {
	routing.Leader
	index int // in what was asked
	err   error
}

// ask groups partitions by leader and makes one call a node, all nodes at
// once. What came to the wrong node is asked again when the view has moved,
// and what came to none where again allows it, until ctx ends. It returns an
// error, or nil, for each partition.
func (s *Server) ask(ctx context.Context, ids []storageclient.PartitionID, again func(i int) bool,
	call func(ctx context.Context, targets []target) error,
) []error {
	errs, left := make([]error, len(ids)), make([]int, len(ids))
	for i := range left {
		left[i] = i
	}
	tries := s.router.Attempts()
	for {
		tries.Begin()
		s.askOnce(ctx, ids, left, errs, call)
		var more []int
		for _, i := range left {
			if routing.Misrouted(errs[i]) || unsettled(errs[i]) && again(i) {
				more = append(more, i)
			}
		}
		if left = more; len(left) == 0 || !tries.Wait(ctx) {
			return errs
		}
	}
}

// unsettled tells whether an error leaves open what was done, which another try
// may settle.
func unsettled(err error) bool {
	return routing.Unreachable(err) || errcode.Is(err, errcode.NotEnoughReplicasAfterAppend)
}

// safely lets everything be asked again: the call changes nothing twice.
func safely(int) bool { return true }

func (s *Server) askOnce(ctx context.Context, ids []storageclient.PartitionID, indexes []int, errs []error,
	call func(ctx context.Context, targets []target) error,
) {
	groups := map[int32][]target{}
	for _, i := range indexes {
		l, err := s.router.Leader(ids[i])
		if errs[i] = err; err == nil {
			groups[l.NodeID] = append(groups[l.NodeID], target{Leader: l, index: i})
		}
	}
	ask := func(group []target) {
		err := call(ctx, group)
		for i := range group {
			errs[group[i].index] = group[i].err
			if err != nil {
				errs[group[i].index] = errcode.Of(err)
			}
		}
	}
	var wg sync.WaitGroup
	for _, group := range groups {
		if len(groups) == 1 {
			ask(group)
			return
		}
		wg.Go(func() { ask(group) })
	}
	wg.Wait()
}

// sameCount checks that a node answered for as many partitions as were asked.
func sameCount(got, want int) error {
	if got == want {
		return nil
	}
	return errcode.New(errcode.Internal, "a storage node answered for %d partitions, %d were asked", got, want)
}
