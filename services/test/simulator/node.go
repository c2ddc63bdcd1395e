package simulator

import (
	"errors"
	"fmt"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/vfs"
)

// node is one storage node: the shell around the cores of replication and
// producers, with real logs on a disk that can lose power.
type node struct {
	w    *World
	proc *process
	id   int32
	disk *vfs.Memory

	// What a restart knows: the epoch that was granted last, and whether the
	// machine has started anew since (N1, N3).
	lastEpoch int64
	powerLost bool

	slowTo time.Duration // until when it is sent little at a time

	// The rest is of one life.
	epoch    int64
	want     int64 // revision to be seen before the node is ready
	view     *image
	lease    *replication.Lease
	replicas []*replica // by partition
	peers    []*peer    // by node
	flushing bool
}

// peer is another node, as the one that this one's followers follow.
type peer struct {
	conn    *conn
	dialing bool
}

// format makes the node's data directory, durably.
func (n *node) format() {
	if err := errors.Join(n.disk.MkdirAll(n.dir()), n.disk.SyncDir(".")); err != nil {
		n.w.fail("format: %v", err)
	}
}

func (n *node) dir() string { return fmt.Sprintf("n%d", n.id) }

func (n *node) now() time.Time { return n.w.clock(n.proc) }

func (n *node) start() {
	*n = node{w: n.w, proc: n.proc, id: n.id, disk: n.disk, lastEpoch: n.lastEpoch, powerLost: n.powerLost, slowTo: n.slowTo}
	n.lease = replication.NewLease(n.w.config.Lease)
	n.view = n.w.genesis
	for range n.w.nodes {
		n.peers = append(n.peers, &peer{})
	}
	for i := range n.w.parts {
		n.replicas = append(n.replicas, n.open(i))
	}
	n.register(n.w.rng.Uint64())
	n.w.follow(n.proc, n.saw)
	n.checkpoint()
}

// checkpoint keeps the high watermarks for the next start, now and then.
func (n *node) checkpoint() {
	for _, r := range n.replicas {
		n.w.point(n.proc)
		r.saveHW()
	}
	n.w.after(n.proc, time.Second+n.w.upTo(3*time.Second), "checkpoint", n.checkpoint)
}

// end notes what the next start must find again: what is durable.
func (n *node) end() {
	for i, r := range n.replicas {
		n.w.promised[n.id][i] = r.log.DurableEnd()
	}
}

// register asks one controller after the other for an epoch (N1).
func (n *node) register(incarnation uint64) {
	r := cluster.RegisterNode{
		NodeID: n.id, Incarnation: fmt.Sprint(incarnation), Address: fmt.Sprintf("node-%d:1", n.id), SameBoot: !n.powerLost,
	}
	if !n.powerLost { // its lock shows that the one before is gone
		r.PreviousEpoch = n.lastEpoch
	}
	c := n.w.anyController()
	call(n.w, n.proc, c.proc, "register", time.Second, func(reply func(registered)) { c.register(r, reply) }, func(a registered, err error) {
		if err != nil || a.err != nil {
			n.w.after(n.proc, 50*time.Millisecond+n.w.upTo(200*time.Millisecond), "register", func() { n.register(incarnation) })
			return
		}
		n.w.checkNodeEpoch(n.id, a.epoch)
		n.epoch, n.lastEpoch, n.want, n.powerLost = a.epoch, a.epoch, a.revision, false
		n.beat()
		n.adopt(n.view)
	})
}

// beat tells the controller that the node lives (C8); the answer is the node's
// lease (R12).
func (n *node) beat() {
	sent, c := n.now(), n.w.controllers[n.w.activeController()]
	b := heartbeat{node: n.id, epoch: n.epoch, revision: n.view.revision, ready: n.view.revision >= n.want}
	call(n.w, n.proc, c.proc, "heartbeat", time.Second, func(reply func(beaten)) { c.beat(b, reply) }, func(a beaten, err error) {
		switch {
		case err == nil && errcode.Is(a.err, errcode.StaleNodeEpoch):
			n.w.kill(n.proc, false) // another one has its id: it must register anew
			n.w.bootLater(n.proc)
			return
		case err == nil && a.err == nil && !a.fenced:
			n.lease.Answered(sent, a.revision)
		}
	})
	n.w.after(n.proc, 500*time.Millisecond, "beat", n.beat)
}

// saw takes a view, unless it is older than the one before.
func (n *node) saw(i *image) {
	if i.revision <= n.view.revision {
		return
	}
	n.lease.Seen(i.revision)
	n.adopt(i)
}

func (n *node) adopt(i *image) {
	n.view = i
	if n.epoch == 0 || i.revision < n.want {
		return
	}
	for _, r := range n.replicas {
		n.w.point(n.proc)
		r.assume(i)
	}
	n.connect()
}

// connect keeps one connection to each node that leads something here.
func (n *node) connect() {
	for id, p := range n.peers {
		leads := false
		for _, r := range n.replicas {
			leads = leads || r.follower != nil && r.leaderNode == int32(id)
		}
		if leads && p.conn == nil && !p.dialing {
			n.dial(int32(id), p)
		}
	}
}

func (n *node) dial(to int32, p *peer) {
	p.dialing = true
	leader := n.w.nodes[to]
	n.w.dial(n.proc, leader.proc, func(c *conn) {
		p.dialing = false
		if c == nil {
			n.w.after(n.proc, n.w.upTo(300*time.Millisecond), "dial", n.connect)
			return
		}
		p.conn = c
		c.ends[0].closed = func() { n.lost(to, c) }
		c.ends[1].closed = func() { leader.left(c) }
		for _, r := range n.replicas {
			if r.follower != nil && r.leaderNode == to {
				r.stepFollower(replication.Attached{})
			}
		}
	})
}

// lost is the end of a connection, at the follower.
func (n *node) lost(to int32, c *conn) {
	p := n.peers[to]
	if p.conn != c {
		return
	}
	p.conn = nil
	for _, r := range n.replicas {
		if r.follower != nil && r.leaderNode == to {
			r.stepFollower(replication.Detached{})
		}
	}
	n.w.after(n.proc, n.w.upTo(100*time.Millisecond), "dial", n.connect)
}

// left is the end of a connection, at the leader.
func (n *node) left(c *conn) {
	for _, r := range n.replicas {
		for _, id := range sorted(r.senders) {
			if s := r.senders[id]; s.conn == c && r.leader != nil {
				delete(r.senders, id)
				r.stepLeader(replication.Ended{Node: id, Session: s.session})
			}
		}
	}
}

// flush makes dirty logs durable after a while, as the group commit does.
func (n *node) flush() {
	if n.flushing {
		return
	}
	n.flushing = true
	n.w.after(n.proc, 100*time.Microsecond+n.w.diskDelay(), "flush", func() {
		n.flushing = false
		for _, r := range n.replicas {
			if r.dirty {
				r.dirty = false
				n.w.point(n.proc)
				r.sync()
			}
		}
	})
}
