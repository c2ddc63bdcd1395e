package simulator

import (
	"slices"
	"testing"

	"moldau.dev/metadata/cluster"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
)

// emptyLog is a log without records.
type emptyLog struct{}

func (emptyLog) StartOffset() int64                     { return 0 }
func (emptyLog) LatestEpoch() int32                     { return -1 }
func (emptyLog) EndOffsetForEpoch(int32) (int32, int64) { return -1, -1 }

// pair is a leader's core and metadata's, with nothing in between.
type pair struct {
	t *testing.T
	i *image
	l *replication.Leader
}

func (p *pair) must(c cluster.Change) {
	p.t.Helper()
	next, err := p.i.apply(c)
	if err != nil {
		p.t.Fatalf("%T: %v", c, err)
	}
	p.i = next
}

// step steps the leader and returns what it proposes, if anything.
func (p *pair) step(e replication.Event) *replication.Propose {
	return proposal(p.l.Step(beginning, e))
}

func proposal(effects []replication.Effect) *replication.Propose {
	for _, e := range slices.Backward(effects) {
		if q, ok := e.(replication.Propose); ok {
			return &q
		}
	}
	return nil
}

// Found by seed 684: a proposal without an answer, and then a refusal, leave the
// leader in doubt whether the first try will still be carried out. It asks for
// what is committed, so that the partition epoch moves on; metadata took that for
// no change, and the leader waited for ever and grew its in-sync replicas no more
// (R7).
func TestLeaderGetsOverAProposalInDoubt(t *testing.T) {
	p := &pair{t: t, i: genesis(2, [][]int32{{0, 1}}, 1, true)}
	p.must(cluster.UnfenceNode{NodeID: 1})
	p.must(cluster.UnfenceNode{NodeID: 0}) // too late to be in sync
	lead := p.i.parts[0].Leader
	if lead != 1 {
		t.Fatalf("node %d leads", lead)
	}
	seen := p.i.seen(0)
	self := replication.Local{Node: 1, NodeEpoch: p.i.state.Nodes[1].NodeEpoch, Log: emptyLog{}}
	p.l, _ = replication.NewLeader(beginning, replication.DefaultConfig(), self, seen, nil)
	begin := replication.Begin{Node: 0, NodeEpoch: p.i.state.Nodes[0].NodeEpoch, Session: 1, LeaderEpoch: seen.LeaderEpoch, LastEpoch: -1}
	grow := p.step(begin)
	if grow == nil || len(grow.ISR) != 2 {
		t.Fatalf("a follower with all there is: %v is proposed", grow)
	}
	p.step(replication.Altered{PartitionEpoch: grow.PartitionEpoch, Reason: errcode.RequestTimedOut})
	p.step(replication.Altered{PartitionEpoch: grow.PartitionEpoch, Reason: errcode.IneligibleReplica})
	again := proposal(p.l.Step(beginning.Add(replication.DefaultConfig().RetryMax), replication.Tick{}))
	if again == nil || len(again.ISR) != 1 {
		t.Fatalf("after doubt and refusal %v is proposed, want what is committed", again)
	}
	c := alter(0, 1, self.NodeEpoch, *again)
	p.must(c)
	after := p.i.shown(c.Results[0].State)
	if after.PartitionEpoch <= again.PartitionEpoch {
		t.Fatalf("the partition epoch is %d still: what was asked before may yet be carried out", after.PartitionEpoch)
	}
	late := alter(0, 1, self.NodeEpoch, *grow)
	if _, err := p.i.apply(late); err != nil || late.Results[0].Error.GetReason() != string(errcode.InvalidUpdateVersion) {
		t.Fatalf("the late try: %v, %v", late.Results[0], err)
	}
	next := p.step(replication.Altered{PartitionEpoch: again.PartitionEpoch, Partition: &after})
	if next == nil || len(next.ISR) != 2 {
		t.Fatalf("at last %v is proposed, want both", next)
	}
}
