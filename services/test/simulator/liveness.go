package simulator

import (
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
)

// liveness fences who has fallen silent (C8, C9).
func (c *controller) liveness() {
	if !c.active {
		return
	}
	now := c.now()
	for _, id := range sorted(c.image.nodes) {
		heard, ok := c.lastBeat[id]
		if !ok {
			heard = c.graceTill.Add(-fenceTimeout)
		}
		if !c.image.nodes[id].fenced && now.Sub(heard) >= fenceTimeout && !now.Before(c.graceTill) {
			c.decide(fence(id), func(int64, error) {})
		}
	}
	c.later(250*time.Millisecond, "liveness", c.liveness)
}

// registration asks for an epoch.
type registration struct {
	node        int32
	incarnation uint64
	previous    int64
	lossy       bool
}

// registered is the answer.
type registered struct {
	epoch, revision int64
	err             error
}

func (c *controller) register(r registration, reply func(registered)) {
	c.decide(register(r.node, r.incarnation, r.previous, r.lossy), func(revision int64, err error) {
		if err != nil {
			reply(registered{err: err})
			return
		}
		n := c.image.nodes[r.node]
		if n.incarnation != r.incarnation {
			reply(registered{err: errNotController})
			return
		}
		reply(registered{n.epoch, revision, nil})
	})
}

// heartbeat is a node's sign of life.
type heartbeat struct {
	node            int32
	epoch, revision int64
	ready           bool
}

type beaten struct {
	fenced   bool
	revision int64
	err      error
}

func (c *controller) beat(b heartbeat, reply func(beaten)) {
	n, ok := nodeState{}, false
	if c.active {
		n, ok = c.image.nodes[b.node]
	}
	switch {
	case !c.confirmed() || c.now().Sub(c.renewed) > fenceTimeout/4: // a node's lease hangs on it
		reply(beaten{err: errNotController})
		return
	case !ok || n.epoch != b.epoch:
		reply(beaten{err: errcode.New(errcode.StaleNodeEpoch, "node %d", b.node)})
		return
	}
	c.lastBeat[b.node] = c.now()
	if n.fenced && b.ready {
		c.decide(unfence(b.node), func(int64, error) {})
	}
	reply(beaten{fenced: n.fenced, revision: c.image.revision})
}

// altered is the answer to a leader's proposal.
type altered struct {
	reason errcode.Reason
	part   *replication.Partition
}

func (c *controller) alter(part int, node int32, nodeEpoch int64, q replication.Propose, reply func(altered)) {
	c.decide(alter(part, node, nodeEpoch, q), func(_ int64, err error) {
		a := altered{reason: errcode.ReasonOf(err)}
		if c.active && err != errNotController {
			p := c.image.seen(part)
			a.part = &p
		}
		reply(a)
	})
}

// watch shows a connection every image from now on.
func (c *controller) watch(conn *conn, show func(*image)) {
	if !c.confirmed() {
		conn.close()
		return
	}
	w := &watcher{conn: conn, end: 0, show: show}
	c.watchers = append(c.watchers, w)
	w.tell(c.image)
}

func (w *watcher) tell(i *image) {
	w.conn.send(w.end, "view", func() { w.show(i) })
}
