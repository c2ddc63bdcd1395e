package routing

import (
	"context"
	"math/rand/v2"
	"time"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// Nodes finds the door of a storage node; storageclient.Pool is one.
type Nodes interface {
	Node(id int32) (storageclient.Storage, error)
}

// Router finds leaders. It is safe for concurrent use.
type Router struct {
	meta  metadataclient.Client
	nodes Nodes
	clk   clock.Clock
}

// NewRouter returns a router that decides from meta's view.
func NewRouter(meta metadataclient.Client, nodes Nodes, clk clock.Clock) *Router {
	return &Router{meta: meta, nodes: nodes, clk: clk}
}

// Leader is where a partition's requests go.
type Leader struct {
	storageclient.Storage
	NodeID int32
	Epoch  int32
}

// Leader returns the leader that the present view names. UNKNOWN_TOPIC and
// UNKNOWN_PARTITION are final; NODE_UNAVAILABLE may pass.
func (r *Router) Leader(id storageclient.PartitionID) (Leader, error) {
	t := r.meta.View().TopicsByID[id.Topic]
	if t == nil {
		return Leader{}, errcode.New(errcode.UnknownTopic, "no topic has id %s", id.Topic)
	}
	if err := CheckPartition(t, id.Index); err != nil {
		return Leader{}, err
	}
	p := &t.Partitions[id.Index]
	if p.Leader < 0 {
		return Leader{}, errcode.New(errcode.NodeUnavailable, "no node leads %s-%d", t.Name, id.Index)
	}
	node, err := r.nodes.Node(p.Leader)
	if err != nil {
		return Leader{}, err
	}
	return Leader{Storage: node, NodeID: p.Leader, Epoch: p.LeaderEpoch}, nil
}

// CheckPartition returns UNKNOWN_PARTITION unless t has that partition.
func CheckPartition(t *metadataclient.Topic, index int32) error {
	if index >= 0 && int(index) < len(t.Partitions) {
		return nil
	}
	return errcode.New(errcode.UnknownPartition, "%s has %d partitions, %d is not one", t.Name, len(t.Partitions), index).
		With("partition_count", len(t.Partitions))
}

// Misrouted tells whether an error says that the node asked was not, or not
// yet, the right one, and that nothing was done.
func Misrouted(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.NotLeader, errcode.FencedLeaderEpoch, errcode.UnknownLeaderEpoch,
		errcode.UnknownTopicID, errcode.UnknownPartition, errcode.OffsetNotAvailable:
		return true
	default:
		return false
	}
}

// Unreachable tells whether an error says that a node could not be asked, or
// did not answer: whether it acted is not known.
func Unreachable(err error) bool {
	switch errcode.ReasonOf(err) {
	case errcode.NodeUnavailable, errcode.ShuttingDown, errcode.RequestTimedOut:
		return true
	default:
		return false
	}
}

const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// Attempts paces the tries of one request: the next one comes when the view
// has moved, or after a pause that doubles, with jitter (rule G4). It has no
// goroutine and needs no closing.
type Attempts struct {
	r       *Router
	pause   time.Duration
	changed <-chan struct{}
}

// Attempts returns the tries of one request.
func (r *Router) Attempts() *Attempts { return &Attempts{r: r, pause: firstPause} }

// Begin opens a try. Look the leader up after it, so that no change is missed.
func (a *Attempts) Begin() { a.changed = a.r.meta.Changed() }

// Wait returns true when it is time for the next try, and false once ctx is
// done.
func (a *Attempts) Wait(ctx context.Context) bool {
	timer := a.r.clk.NewTimer(a.pause/2 + rand.N(a.pause/2)) //nolint:gosec // jitter
	defer timer.Stop()
	a.pause = min(2*a.pause, lastPause)
	select {
	case <-a.changed:
		return ctx.Err() == nil
	case <-timer.C():
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
