package replication

import (
	"slices"
	"time"

	"moldau.dev/services/errcode"
)

// proposal is a change of the in-sync replicas whose outcome is not known yet.
type proposal struct {
	Propose
	// doubtful says that an earlier try, of this or another content, may still be
	// carried out: nothing is rolled back before the partition epoch has moved (R7).
	doubtful bool
	retryAt  time.Time // zero while an answer is awaited
	pause    time.Duration
}

func (p *proposal) send(l *Leader) {
	p.retryAt = time.Time{}
	l.emit(p.Propose)
}

// eligible tells whether a replica may be in sync: it lives, and its session is
// of the incarnation that metadata knows (R8, R9).
func (p *peer) eligible(now time.Time) bool {
	return p.session != 0 && p.Live && p.NodeEpoch == p.sessionEpoch && !now.Before(p.barred)
}

// advance moves the high watermark to what every member of the maximal in-sync
// replicas holds (R6), and every replica that is about to join: else one that is
// a little slower than the others would never reach it (as Kafka's leader waits).
func (l *Leader) advance(now time.Time) {
	if l.UnderMinISR() || !l.serving {
		return
	}
	hw := l.own()
	for _, p := range l.peers {
		if p.maximal || l.joins(now, p) {
			hw = min(hw, l.counted(p))
		}
	}
	if hw > l.hw {
		l.hw = hw
		l.emit(AdvanceHW{hw})
	}
}

// lags tells whether a replica has for too long not had all.
func (l *Leader) lags(now time.Time, p *peer) bool {
	return l.counted(p) < l.end && now.Sub(p.caughtUp) >= l.cfg.LagMax
}

// joins tells whether a replica is about to join: it needs only reach the high
// watermark (R8).
func (l *Leader) joins(now time.Time, p *peer) bool {
	return p.eligible(now) && l.counted(p) >= l.began && !l.lags(now, p)
}

func (l *Leader) appended(now time.Time, end int64) {
	for _, p := range l.peers {
		if p.end >= 0 && l.counted(p) >= l.end {
			p.caughtUp = now // it had all until now
		}
	}
	l.end = max(l.end, end)
	l.advance(now)
	if l.wakeAt.IsZero() {
		l.watchLag(now)
	}
}

// review looks for replicas to add or to remove, unless a proposal is under way.
func (l *Leader) review(now time.Time) {
	if l.pending != nil || !l.serving || now.Before(l.quietUntil) {
		return
	}
	if l.recover {
		l.propose(l.isr)
		return
	}
	if isr, changed := l.wanted(now); changed {
		l.propose(isr)
	}
}

// wanted is the in-sync replicas as they ought to be: with those that have earned
// it (R8), without those that lag or have lost what was committed.
func (l *Leader) wanted(now time.Time) (isr []int32, changed bool) {
	isr = l.order(func(p *peer) bool {
		in := l.joins(now, p) && l.counted(p) >= l.hw
		if p.inISR {
			lost := p.end >= 0 && p.end < l.hw
			in = !lost && !l.lags(now, p)
		}
		changed = changed || in != p.inISR
		return in
	})
	return isr, changed
}

// order lists the leader and the peers that in picks, as the replicas stand in
// metadata.
func (l *Leader) order(in func(*peer) bool) []int32 {
	isr := make([]int32, 0, len(l.replicas))
	for _, r := range l.replicas {
		if p := l.peer(r.Node); r.Node == l.self.Node || p != nil && in(p) {
			isr = append(isr, r.Node)
		}
	}
	return isr
}

// propose asks for isr, and from now on takes the union for in sync (R7).
func (l *Leader) propose(isr []int32) {
	l.pending = &proposal{pause: l.cfg.RetryMin}
	l.fill(isr)
	l.pending.send(l)
}

func (l *Leader) fill(isr []int32) {
	l.pending.Propose = Propose{LeaderEpoch: l.epoch, PartitionEpoch: l.partEpoch}
	for _, node := range isr {
		m := Member{Node: node, NodeEpoch: l.self.NodeEpoch}
		if p := l.peer(node); p != nil {
			m.NodeEpoch = p.NodeEpoch
			if p.session != 0 {
				m.NodeEpoch = p.sessionEpoch
			}
			p.maximal = true
		}
		l.pending.ISR = append(l.pending.ISR, m)
	}
}

// refused are the answers that say: the partition epoch was right, and nothing
// was changed.
func refused(r errcode.Reason) bool { return r == errcode.IneligibleReplica }

// outdated are the answers of a controller that knows more than this leader: the
// next metadata will tell.
func outdated(r errcode.Reason) bool {
	switch r {
	case errcode.InvalidUpdateVersion, errcode.FencedLeaderEpoch, errcode.NotLeader, errcode.StaleNodeEpoch,
		errcode.InvalidArgument, errcode.UnknownTopicID, errcode.UnknownPartition:
		return true
	}
	return false
}

func (l *Leader) altered(now time.Time, a *Altered) {
	if p := a.Partition; p != nil && p.LeaderEpoch == l.epoch && p.PartitionEpoch > l.partEpoch {
		l.adopt(now, p)
		l.settle(now)
		return
	}
	p := l.pending
	if p == nil || a.PartitionEpoch != l.partEpoch {
		return
	}
	switch {
	case refused(a.Reason):
		l.refusedBy(now)
	case outdated(a.Reason) || a.Reason == "":
		// The union stays until metadata of a higher partition epoch comes; asked again
		// at leisure, in case it never does.
		l.retry(now, l.cfg.RetryMax)
	default:
		p.doubtful = true
		l.retry(now, p.pause)
		p.pause = min(2*p.pause, l.cfg.RetryMax)
	}
	l.settle(now)
}

func (l *Leader) retry(now time.Time, after time.Duration) { l.pending.retryAt = now.Add(after) }

// refusedBy rolls a proposal back. Where an earlier try may still be carried out,
// the committed state is proposed instead: that moves the partition epoch, and
// with it goes what was tried before.
func (l *Leader) refusedBy(now time.Time) {
	for _, m := range l.pending.ISR {
		if p := l.peer(m.Node); p != nil && !p.inISR {
			p.barred = now.Add(l.cfg.RetryMax)
		}
	}
	if l.pending.doubtful {
		l.fill(l.isr)
		l.retry(now, l.cfg.RetryMin)
		return
	}
	l.pending = nil
	l.commit()
	l.quietUntil = now.Add(l.cfg.RetryMax)
}

// commit makes the maximal in-sync replicas the committed ones.
func (l *Leader) commit() {
	for _, p := range l.peers {
		p.maximal = p.inISR
	}
}

// metadata takes what a view says, in the same leader epoch.
func (l *Leader) metadata(now time.Time, p *Partition) {
	if p.LeaderEpoch != l.epoch {
		return
	}
	if p.PartitionEpoch >= l.partEpoch {
		l.adopt(now, p)
	} else {
		l.learn(p.Replicas)
	}
	l.settle(now)
}

// adopt takes a partition state that is not older than the one known. One of a
// higher partition epoch settles every proposal (R7).
func (l *Leader) adopt(now time.Time, p *Partition) {
	l.durable = p.Durable
	l.replicas = slices.Clone(p.Replicas)
	l.keepPeers()
	l.learn(p.Replicas)
	if p.PartitionEpoch == l.partEpoch {
		return
	}
	changed := ISRChanged{ISR: slices.Clone(p.ISR)}
	for _, q := range l.peers {
		was, is := q.inISR, slices.Contains(p.ISR, q.Node)
		if q.inISR = is; is && !was {
			changed.Grown++
			q.caughtUp = later(q.caughtUp, now)
		} else if was && !is {
			changed.Shrunk++
		}
		q.barred = time.Time{}
	}
	first := l.partEpoch < 0
	l.isr, l.minISR, l.partEpoch, l.pending = changed.ISR, max(p.MinISR, 1), p.PartitionEpoch, nil
	l.quietUntil = time.Time{}
	l.recover = l.recover && p.Recovering
	l.commit()
	if first {
		changed.Grown, changed.Shrunk = 0, 0
	}
	l.emit(changed)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keepPeers makes the peers those of the replicas; a session of any other ends.
func (l *Leader) keepPeers() {
	for _, r := range l.replicas {
		if r.Node != l.self.Node && l.peer(r.Node) == nil {
			l.peers = append(l.peers, &peer{Replica: r, end: -1, flushed: -1})
		}
	}
	l.peers = slices.DeleteFunc(l.peers, func(p *peer) bool {
		gone := !slices.ContainsFunc(l.replicas, func(r Replica) bool { return r.Node == p.Node })
		if gone {
			l.drop(p)
		}
		return gone
	})
	slices.SortFunc(l.peers, func(a, b *peer) int { return int(a.Node) - int(b.Node) })
}

// learn notes what metadata knows of the nodes: a session of an earlier
// incarnation ends (R1), and a former leader that is gone cannot answer.
func (l *Leader) learn(replicas []Replica) {
	for _, r := range replicas {
		p := l.peer(r.Node)
		if p == nil {
			continue
		}
		if r.NodeEpoch != p.NodeEpoch || r.Live != p.Live {
			p.barred = time.Time{}
		}
		p.NodeEpoch, p.Live = max(p.NodeEpoch, r.NodeEpoch), r.Live
		if p.session != 0 && p.sessionEpoch < p.NodeEpoch {
			l.drop(p)
		}
	}
}
