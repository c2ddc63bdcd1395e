package storagenode

import (
	"slices"
	"sync"
	"sync/atomic"

	"moldau.dev/services/clock"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/replication"
)

// replica is a partition's part in replication: the core that decides, leader or
// follower or neither, and the shell's side of it. There is a core once the log
// is open.
type replica struct {
	// became is the tenure of the core; changed under the partition's mu and mu.
	became atomic.Pointer[tenure]
	// cuts grows when the log is cut, and with each core: what was learned of the
	// log before says nothing then.
	cuts atomic.Int64
	// reign grows when the node stops to lead: an append of before may be cut off.
	reign atomic.Int64
	// inSync is the number of committed in-sync replicas where this node leads,
	// minISR how many are wanted; alone tells that a commit waits for nobody else,
	// known whether the newest offset may be told.
	inSync, minISR atomic.Int32
	alone, known   atomic.Bool

	// mu is held while a core takes a step and its effects are carried out. Taken
	// after the partition's mu, before that of a feed or link.
	mu       sync.Mutex
	leader   *replication.Leader
	follower *replication.Follower
	wake     clock.Timer
	sessions []*session // of followers, those that are not over
	former   []former   // leaders that the core waits for
	// last is the last session that this replica asked for as a follower; handle
	// names it on link.
	last   uint64
	link   *link
	handle uint32
	inbox  []parcel    // what the leader sent, not worked on yet
	queued atomic.Bool // is on the workers' list, or with one
	heavy  []replication.Effect
	// leaderEpoch is the node epoch that the leader of the core's tenure had.
	leaderEpoch int64
}

// former is a node that may have led, in one of its incarnations.
type former struct {
	node  int32
	epoch int64
}

func (r *replica) is(t tenure) bool {
	b := r.became.Load()
	return b != nil && *b == t
}

// become makes the replica's core that of the role, unless it is. The caller
// holds mu; the log is open.
func (p *partition) become(l *commitlog.Log) {
	next := p.tenure()
	if p.replica.is(next) {
		return
	}
	r := &p.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	role := p.role.Load()
	next = tenure{role.leader, role.leaderEpoch, next.nodeEpoch, role.holds(p.node.cfg.NodeID)}
	former := p.formerLeaders(role)
	if r.leader != nil && role.leader != noLeader && (!role.holds(p.node.cfg.NodeID) || p.fault.Load() != nil) {
		p.node.links.to(role.leader).resign(p.id, role.leaderEpoch) // whoever follows says so by that
	}
	p.resign()
	r.leaderEpoch = role.epochOf(role.leader)
	r.became.Store(&next)
	r.cuts.Add(1)
	end := l.EndOffset()
	local := replication.Local{
		Node: p.node.cfg.NodeID, NodeEpoch: next.nodeEpoch, Log: l, End: end, DurableEnd: min(l.DurableEnd(), end),
		HighWatermark: p.highWatermark.Load(),
	}
	switch {
	case !role.holds(local.Node) || role.leader == noLeader:
	case role.leader != local.Node && p.fault.Load() != nil: // it would be counted on again
	case role.leader == local.Node:
		p.lead(local, role, former)
	default:
		r.follower = replication.NewFollower(p.node.cfg.Replication, local, role.state, r.last)
		r.link = p.node.links.to(role.leader)
		if r.link.join(p) {
			p.step(replication.Attached{})
		}
	}
	if role.config.Durable && local.DurableEnd < local.End {
		p.node.flusher.mark(p) // a flush that was under way is not told of
	}
	if now := p.role.Load(); now != role { // it came meanwhile
		p.tell(now)
	}
}

// lead begins to; the caller holds replica.mu.
func (p *partition) lead(local replication.Local, role *role, waits []former) {
	r := &p.replica
	r.former = waits
	nodes := make([]int32, len(waits))
	for i, f := range waits {
		nodes[i] = f.node
	}
	var effects []replication.Effect
	r.leader, effects = replication.NewLeader(p.node.clock.Now(), p.node.cfg.Replication, local, role.state, nodes)
	p.carry(effects)
	p.reflect()
	if role.replicated() {
		p.node.log.Info("leads", telemetry.Topic(role.topic), telemetry.Partition(p.id.Index), telemetry.LeaderEpoch(role.leaderEpoch),
			telemetry.Offset(local.End), telemetry.HighWatermark(local.HighWatermark))
	}
}

// resign gives the core up; the caller holds replica.mu.
func (p *partition) resign() {
	r := &p.replica
	if r.leader != nil {
		if p.role.Load().leader != p.node.cfg.NodeID {
			r.reign.Add(1)
		}
		for _, s := range r.sessions {
			s.drop()
		}
		r.sessions, r.leader, r.former = nil, nil, nil
		r.known.Store(false)
	}
	if r.follower != nil {
		r.link.leave(p, r.handle)
		for i := range r.inbox {
			r.inbox[i].release()
		}
		r.follower, r.link, r.inbox, r.heavy = nil, nil, nil, nil
		r.handle = 0 // of another link it would name another partition's session
	}
	if r.wake != nil {
		r.wake.Stop()
	}
}

// leave ends the partition's life on this node; the caller holds mu.
func (p *partition) leave() {
	p.gone = true
	p.replica.mu.Lock()
	defer p.replica.mu.Unlock()
	p.resign()
}

// formerLeaders are the nodes that may still answer as leaders of an earlier
// epoch (R12): the one before, where the replica knows it, else every other that
// lives. The caller holds replica.mu.
func (p *partition) formerLeaders(role *role) []former {
	before, self := p.replica.became.Load(), p.node.cfg.NodeID
	var all []former
	switch {
	case role.leader != self || role.leaderEpoch == 0:
	case before != nil && role.leaderEpoch-before.leaderEpoch <= 1 && before.leader != noLeader:
		if before.leader != self {
			all = append(all, former{before.leader, p.replica.leaderEpoch})
		}
	default:
		for _, o := range role.state.Replicas {
			if o.Node != self {
				all = append(all, former{o.Node, o.NodeEpoch})
			}
		}
	}
	return slices.DeleteFunc(all, func(f former) bool { return role.gone(f.node, f.epoch) })
}

// assume takes on a role, unless it is of an older leader epoch than the one
// before, which only metadata that went back can say (rule C11).
func (p *partition) assume(r *role) {
	if old := p.role.Load(); r.leaderEpoch < old.leaderEpoch {
		p.node.log.Error("metadata went back: an older leader epoch is not taken", telemetry.Topic(r.topic),
			telemetry.Partition(p.id.Index), telemetry.LeaderEpoch(r.leaderEpoch))
		return
	}
	p.role.Store(r)
	if l := p.log.Load(); l != nil {
		l.SetConfig(logConfig(&r.config))
	}
	if p.replica.is(p.tenure()) {
		p.replica.mu.Lock()
		p.tell(r)
		p.replica.mu.Unlock()
	} else {
		p.attend(r)
	}
	p.waiting.wakeAll()
}

// attend has a worker make the replica what its role says, where others wait for
// it. A partition without other replicas costs nothing until it is used.
func (p *partition) attend(r *role) {
	if r.replicated() && r.holds(p.node.cfg.NodeID) || p.log.Load() != nil {
		p.node.workers.add(p)
	}
}

// tell gives the core the newest state of its tenure; the caller holds
// replica.mu.
func (p *partition) tell(role *role) {
	r := &p.replica
	if b := r.became.Load(); b == nil || b.leader != role.leader || b.leaderEpoch != role.leaderEpoch {
		return
	}
	p.step(replication.Metadata{Partition: role.state})
	for _, f := range r.former {
		if role.gone(f.node, f.epoch) {
			p.step(replication.Resigned{Node: f.node, LeaderEpoch: role.leaderEpoch})
		}
	}
}
