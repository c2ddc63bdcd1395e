package storagenode

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

const (
	linkBackoffMin = 20 * time.Millisecond
	linkBackoffMax = time.Second
)

// links are the streams to the nodes that lead what this node follows.
type links struct {
	node *Service

	mu  sync.Mutex
	all map[int32]*link
}

// to returns the link to a leader's node. It lives until the node stops, and is
// connected while there is a reason.
func (a *links) to(leader int32) *link {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.all[leader]
	if l == nil {
		l = &link{node: a.node, leader: leader, kick: make(chan struct{}, 1), members: map[*partition]bool{}}
		a.all[leader] = l
		a.node.loops.Go(func() { l.run(a.node.life) })
	}
	return l
}

// renew has every link connect anew: the node has another epoch.
func (a *links) renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.all {
		l.mu.Lock()
		if l.hangUp != nil {
			l.hangUp()
		}
		l.mu.Unlock()
	}
}

// link is the stream to one leader's node. One goroutine says what there is to
// say, another hears; neither waits for the other, nor for a partition (G1).
type link struct {
	node   *Service
	leader int32
	kick   chan struct{} // holds one token where there may be something to say

	mu        sync.Mutex
	members   map[*partition]bool
	connected bool
	hangUp    context.CancelFunc
	sessions  map[uint32]*followed // of this connection, by handle
	last      uint32               // handle
	words     storageclient.FollowerWords
	due       []*followed // have an ack to be sent
}

// join makes p a member, and reports whether the link is connected. Else p is
// told when it is.
func (l *link) join(p *partition) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[p] = true
	wake(l.kick)
	return l.connected
}

// leave ends p's membership and its session.
func (l *link) leave(p *partition, handle uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.members, p)
	l.forget(handle)
	wake(l.kick)
}

// resign tells the leader's node that this one leads no more (R12).
func (l *link) resign(id storageclient.PartitionID, epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words.Resignations = append(l.words.Resignations, storageclient.Resignation{PartitionID: id, LeaderEpoch: epoch})
	wake(l.kick)
}

// wanted tells whether there is a reason to be connected.
func (l *link) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.members)+len(l.words.Resignations) > 0
}

// run keeps the link connected while it is wanted, until ctx ends.
func (l *link) run(ctx context.Context) {
	backoff := linkBackoffMin
	for l.await(ctx) {
		began := l.node.clock.Now()
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.node.clock.Since(began) > linkBackoffMax {
			backoff = linkBackoffMin
		}
		if err == nil {
			continue // it was not wanted any more
		}
		l.node.log.Debug("replication stream ended", telemetry.Leader(l.leader), telemetry.Err(err), "backoff", backoff)
		if !l.node.pause(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, linkBackoffMax)
	}
}

// await waits until the link is wanted, or reports false where ctx ended.
func (l *link) await(ctx context.Context) bool {
	for !l.wanted() {
		select {
		case <-l.kick:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// connect opens the stream and serves it. It returns nil once it is not wanted.
func (l *link) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address := ""
	if n := l.node.meta.View().Nodes[l.leader]; n != nil {
		address = n.Address
	}
	stream, err := l.node.peers.Replicate(ctx, l.leader, address)
	if err != nil {
		return err
	}
	defer stream.Close()
	err = stream.Send(&storageclient.FollowerWords{Hello: &storageclient.ReplicaHello{
		ClusterID: l.node.identity.ClusterID, NodeID: l.node.cfg.NodeID, NodeEpoch: l.node.nodeEpoch.Load(),
		WindowBytes: l.node.cfg.StreamWindowBytes,
	}})
	if err != nil {
		return err
	}
	silence := l.node.clock.AfterFunc(silenceLimit, cancel)
	defer silence.Stop()
	heard := make(chan error, 1)
	go func() { heard <- l.hear(stream, func() { silence.Reset(silenceLimit) }) }()
	l.attach(cancel)
	defer l.detach()
	return l.talk(stream, heard)
}

// attach begins a connection's life, and tells the members of it.
func (l *link) attach(hangUp context.CancelFunc) {
	l.mu.Lock()
	l.connected, l.hangUp = true, hangUp
	l.sessions, l.due = map[uint32]*followed{}, nil
	l.words.Begins, l.words.Acks, l.words.Ends = nil, nil, nil
	members := slices.Collect(maps.Keys(l.members))
	l.mu.Unlock()
	l.each(members, replication.Attached{})
}

func (l *link) detach() {
	l.mu.Lock()
	l.connected, l.hangUp, l.sessions = false, nil, nil
	members := slices.Collect(maps.Keys(l.members))
	l.mu.Unlock()
	l.each(members, replication.Detached{})
}

// each has the members that still follow by this link see an event.
func (l *link) each(members []*partition, e replication.Event) {
	for _, p := range members {
		p.replica.mu.Lock()
		if p.replica.link == l {
			p.step(e)
		}
		p.replica.mu.Unlock()
	}
}

// talk says what there is to say until the stream ends, or is not wanted: then it
// returns nil.
func (l *link) talk(stream storageclient.FollowerStream, heard <-chan error) error {
	sign := l.node.clock.NewTimer(signInterval)
	defer sign.Stop()
	for {
		w := l.say()
		for w == nil {
			if !l.wanted() {
				stream.Close()
				<-heard
				return nil
			}
			select {
			case <-l.kick:
				w = l.say()
			case <-sign.C():
				w = &storageclient.FollowerWords{}
			case err := <-heard:
				return err
			}
		}
		if err := stream.Send(w); err != nil {
			stream.Close()
			return errors.Join(err, <-heard)
		}
		sign.Reset(signInterval)
	}
}
