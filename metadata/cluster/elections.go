package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// ElectLeaders elects preferred leaders, or, one by one, leaders with loss
// (R13). Each partition succeeds or fails alone.
type ElectLeaders struct {
	// Elections to hold; none means the preferred leaders of all partitions.
	Elections []*metadatav1.LeaderElection
	// Unclean lets replicas lead that may lack what was committed.
	Unclean bool
	// Most bounds how many leaders change; 0 is any number.
	Most int
	// Results by partition, in the order asked, or of those that changed; set by
	// Apply.
	Results []*metadatav1.LeaderElectionResult
}

func (c *ElectLeaders) apply(s *State, d *Delta) error {
	c.Results = nil
	e := s.edit(d)
	if len(c.Elections) == 0 {
		if c.Unclean {
			return errcode.New(errcode.InvalidArgument, "an election with loss must name its partitions").WithField("elections")
		}
		c.preferAll(s, e)
		return nil
	}
	for _, ask := range c.Elections {
		t, p, err := e.find(ask.GetTopicId(), ask.GetPartition())
		if err == nil && c.Unclean {
			p, err = s.electUnclean(e, t, int(ask.GetPartition()), ask.GetReplica())
		} else if err == nil {
			p, err = s.electPreferred(e, t, int(ask.GetPartition()))
		}
		c.Results = append(c.Results, &metadatav1.LeaderElectionResult{
			TopicId: ask.GetTopicId(), Partition: ask.GetPartition(), Error: replicaError(err), State: p,
		})
	}
	return nil
}

func (c *ElectLeaders) preferAll(s *State, e *edits) {
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		t := s.Topics[name]
		for i, p := range t.Partitions {
			if !s.misled(p) {
				continue
			}
			if c.Most > 0 && len(c.Results) == c.Most {
				return
			}
			c.Results = append(c.Results, &metadatav1.LeaderElectionResult{
				TopicId: t.TopicId, Partition: int32(i), State: e.settle(t, i, goal{prefer: true}),
			})
		}
	}
}

// misled tells whether another than the preferred leader leads, though that
// one could.
func (s *State) misled(p *metadatav1.PartitionState) bool {
	preferred := p.Replicas[0]
	return p.Leader != preferred && slices.Contains(p.Isr, preferred) && s.Live(preferred)
}

func (s *State) electPreferred(e *edits, t *metadatav1.TopicState, i int) (*metadatav1.PartitionState, error) {
	p := t.Partitions[i]
	switch preferred := p.Replicas[0]; {
	case p.Leader == preferred:
		return p, errcode.New(errcode.ElectionNotNeeded, "the preferred leader, node %d, leads %s-%d", preferred, t.Name, i)
	case !s.misled(p):
		return p, errcode.New(errcode.PreferredLeaderUnavailable, "the preferred leader of %s-%d, node %d, is not in sync", t.Name, i, preferred)
	}
	return e.settle(t, i, goal{prefer: true}), nil
}

// electUnclean makes a replica lead that was neither in sync nor eligible:
// records may be lost. replica -1 stands for the first that lives, those last
// known to be eligible before others.
func (s *State) electUnclean(e *edits, t *metadatav1.TopicState, i int, replica int32) (*metadatav1.PartitionState, error) {
	old := t.Partitions[i]
	if old.Leader != NoLeader {
		return old, errcode.New(errcode.ElectionNotNeeded, "node %d leads %s-%d", old.Leader, t.Name, i)
	}
	var choices []int32
	if replica >= 0 {
		choices = []int32{replica}
	} else {
		choices = slices.Concat(old.LastKnownElr, old.Replicas)
	}
	at := slices.IndexFunc(choices, func(n int32) bool { return s.Live(n) && slices.Contains(old.Replicas, n) })
	if at < 0 {
		return old, errcode.New(errcode.EligibleLeadersUnavailable, "no replica of %s-%d that was asked for is in service", t.Name, i)
	}
	p := copyPartition(old)
	p.Leader = choices[at]
	p.Isr, p.Elr, p.LastKnownElr, p.Recovering = []int32{p.Leader}, nil, nil, true
	finishMove(p, s.configuredMin(t.Configs))
	p = numbered(old, p, false)
	e.set(t, i, p)
	return p, nil
}
