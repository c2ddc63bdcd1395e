package simulator

import (
	"maps"
	"slices"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
)

// image is all that metadata holds, at one revision. It never changes; next
// makes another.
type image struct {
	revision      int64
	lastNodeEpoch int64
	nodes         map[int32]nodeState
	parts         []partState
}

type nodeState struct {
	epoch       int64
	incarnation uint64
	fenced      bool
}

type partState struct {
	leader                      int32 // -1: none
	leaderEpoch, partitionEpoch int32
	replicas, isr, elr          []int32
	minISR                      int
	durable                     bool
}

const noLeader = int32(-1)

// change is a decision: it edits a copy, and says why it cannot.
type change func(i *image) error

// apply returns the image after a change, or i itself where nothing changed.
func (i *image) apply(c change) (*image, error) {
	next := &image{revision: i.revision, lastNodeEpoch: i.lastNodeEpoch, nodes: maps.Clone(i.nodes), parts: slices.Clone(i.parts)}
	if err := c(next); err != nil {
		return i, err
	}
	if next.lastNodeEpoch == i.lastNodeEpoch && maps.Equal(next.nodes, i.nodes) && slices.EqualFunc(next.parts, i.parts, samePart) {
		return i, nil
	}
	return next, nil
}

func samePart(a, b partState) bool { return a.partitionEpoch == b.partitionEpoch }

// live tells whether a node may lead and be in sync.
func (i *image) live(node int32) bool {
	n, ok := i.nodes[node]
	return ok && !n.fenced
}

// register grants an epoch to one start of a node (N1). lossy says that what it
// had in its page cache is gone: where a topic relies on that, the node has
// nothing to offer any more (N3c).
func register(node int32, incarnation uint64, previous int64, lossy bool) change {
	return func(i *image) error {
		old, known := i.nodes[node]
		if known && old.incarnation == incarnation {
			return nil
		}
		if known && !old.fenced && previous != old.epoch {
			return errcode.New(errcode.NodeUnavailable, "node %d is registered by another incarnation", node)
		}
		i.lastNodeEpoch++
		i.nodes[node] = nodeState{epoch: i.lastNodeEpoch, incarnation: incarnation, fenced: true}
		for n := range i.parts {
			p := &i.parts[n]
			if lossy && !p.durable {
				i.leave(p, node, true)
			} else {
				i.leave(p, node, false)
			}
		}
		return nil
	}
}

func fence(node int32) change {
	return func(i *image) error {
		n := i.nodes[node]
		n.fenced = true
		i.nodes[node] = n
		for k := range i.parts {
			i.leave(&i.parts[k], node, false)
		}
		return nil
	}
}

func unfence(node int32) change {
	return func(i *image) error {
		n := i.nodes[node]
		n.fenced = false
		i.nodes[node] = n
		for k := range i.parts {
			i.elect(&i.parts[k])
		}
		return nil
	}
}

// leave takes a node that does not live out of the in-sync replicas; unclean, it
// is not eligible either (R10).
func (i *image) leave(p *partState, node int32, unclean bool) {
	if !slices.Contains(p.isr, node) && !(unclean && slices.Contains(p.elr, node)) {
		i.elect(p)
		return
	}
	isr := without(p.isr, node)
	i.setISR(p, isr, node, unclean)
	if p.leader == node {
		p.leader = noLeader
		p.leaderEpoch++
	}
	i.elect(p)
}

// setISR changes the in-sync replicas, and who is eligible beside them (R10):
// nobody where there are enough, else those who were in sync before.
func (i *image) setISR(p *partState, isr []int32, node int32, unclean bool) {
	elr := []int32(nil)
	if len(isr) < p.minISR {
		for _, r := range p.replicas {
			if (slices.Contains(p.elr, r) || slices.Contains(p.isr, r)) && !slices.Contains(isr, r) && !(unclean && r == node) {
				elr = append(elr, r)
			}
		}
	}
	p.isr, p.elr = isr, elr
	p.partitionEpoch++
}

// elect keeps a leader that lives; else it takes a live replica in sync, and
// where none is in sync a live eligible one (R10).
func (i *image) elect(p *partState) {
	if p.leader != noLeader && i.live(p.leader) && slices.Contains(p.isr, p.leader) {
		return
	}
	to := noLeader
	for _, r := range p.replicas {
		if slices.Contains(p.isr, r) && i.live(r) {
			to = r
			break
		}
	}
	if to == noLeader && len(p.isr) == 0 {
		for _, r := range p.replicas {
			if slices.Contains(p.elr, r) && i.live(r) {
				to = r
				break
			}
		}
		if to != noLeader {
			i.setISR(p, []int32{to}, noLeader, false)
		}
	}
	if to == p.leader {
		return
	}
	p.leader = to
	p.leaderEpoch++
	p.partitionEpoch++
}

// alter judges a leader's proposal (R9).
func alter(part int, node int32, nodeEpoch int64, q replication.Propose) change {
	return func(i *image) error {
		p := &i.parts[part]
		n := i.nodes[node]
		switch {
		case nodeEpoch != n.epoch:
			return errcode.New(errcode.StaleNodeEpoch, "node epoch %d, %d is known", nodeEpoch, n.epoch)
		case q.LeaderEpoch > p.leaderEpoch || q.PartitionEpoch > p.partitionEpoch:
			return errcode.New(errcode.NotController, "the request knows more")
		case q.LeaderEpoch < p.leaderEpoch:
			return errcode.New(errcode.FencedLeaderEpoch, "leader epoch %d, now %d", q.LeaderEpoch, p.leaderEpoch)
		case p.leader != node:
			return errcode.New(errcode.InvalidArgument, "node %d does not lead", node)
		case q.PartitionEpoch < p.partitionEpoch:
			return errcode.New(errcode.InvalidUpdateVersion, "partition epoch %d, now %d", q.PartitionEpoch, p.partitionEpoch)
		}
		var isr []int32
		for _, m := range q.ISR {
			if !slices.Contains(p.replicas, m.Node) {
				return errcode.New(errcode.InvalidArgument, "node %d is no replica", m.Node)
			}
			if !i.live(m.Node) || i.nodes[m.Node].epoch != m.NodeEpoch {
				return errcode.New(errcode.IneligibleReplica, "node %d", m.Node)
			}
			isr = append(isr, m.Node)
		}
		if !slices.Contains(isr, node) {
			return errcode.New(errcode.InvalidArgument, "the leader is not in sync with itself")
		}
		i.setISR(p, isr, noLeader, false)
		return nil
	}
}

func without(list []int32, node int32) []int32 {
	return slices.DeleteFunc(slices.Clone(list), func(n int32) bool { return n == node })
}

// seen is what a replica's node sees of a partition.
func (i *image) seen(part int) replication.Partition {
	p := &i.parts[part]
	out := replication.Partition{
		LeaderEpoch: p.leaderEpoch, PartitionEpoch: p.partitionEpoch, ISR: slices.Clone(p.isr), MinISR: p.minISR, Durable: p.durable,
	}
	for _, r := range p.replicas {
		out.Replicas = append(out.Replicas, replication.Replica{Node: r, NodeEpoch: i.nodes[r].epoch, Live: i.live(r)})
	}
	return out
}
