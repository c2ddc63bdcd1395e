package simulator

import (
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/replication"
)

// liveness fences who has fallen silent (C8, C9).
func (c *controller) liveness() {
	if !c.active {
		return
	}
	now := c.now()
	for _, id := range sorted(c.image.state.Nodes) {
		heard, ok := c.lastBeat[id]
		if !ok {
			heard = c.graceTill.Add(-fenceTimeout)
		}
		if !c.image.state.Nodes[id].Fenced && now.Sub(heard) >= fenceTimeout && !now.Before(c.graceTill) {
			c.decide(cluster.FenceNode{NodeID: id}, func(int64, error) {})
		}
	}
	if len(c.w.coordinators) > 0 {
		c.coordinatorLiveness(now)
	}
	c.later(250*time.Millisecond, "liveness", c.liveness)
}

// registered is the answer to a node that asks for an epoch.
type registered struct {
	epoch, revision int64
	err             error
}

func (c *controller) register(r cluster.RegisterNode, reply func(registered)) {
	c.decide(r, func(revision int64, err error) {
		switch {
		case err != nil:
			reply(registered{err: err})
		case c.image.state.Incarnations[r.NodeID] != r.Incarnation:
			reply(registered{err: errNotController})
		default:
			reply(registered{c.image.state.Nodes[r.NodeID].NodeEpoch, revision, nil})
		}
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
	if !c.confirmed() || c.now().Sub(c.renewed) > fenceTimeout/4 { // a node's lease hangs on it
		reply(beaten{err: errNotController})
		return
	}
	if err := c.image.state.CheckNodeEpoch(b.node, b.epoch); err != nil {
		reply(beaten{err: err})
		return
	}
	c.lastBeat[b.node] = c.now()
	fenced := c.image.state.Nodes[b.node].Fenced
	if fenced && b.ready {
		c.decide(cluster.UnfenceNode{NodeID: b.node}, func(int64, error) {})
	}
	reply(beaten{fenced: fenced, revision: c.image.revision})
}

func (c *controller) alter(part int, node int32, nodeEpoch int64, q replication.Propose, reply func(altered)) {
	ch := alter(part, node, nodeEpoch, q)
	c.decide(ch, func(_ int64, err error) {
		if err != nil {
			reply(altered{reason: errcode.ReasonOf(err)})
			return
		}
		result := ch.Results[0]
		a := altered{reason: errcode.Reason(result.GetError().GetReason())}
		if result.State != nil {
			p := c.image.shown(result.State)
			a.part = &p
		}
		reply(a)
	})
}

// follow shows a process metadata, from whichever controller there is.
func (w *World) follow(p *process, saw func(*image)) {
	c := w.anyController()
	w.dial(p, c.proc, func(conn *conn) {
		if conn == nil {
			w.after(p, w.upTo(200*time.Millisecond), "watch", func() { w.follow(p, saw) })
			return
		}
		conn.ends[0].closed = func() { w.after(p, w.upTo(100*time.Millisecond), "watch", func() { w.follow(p, saw) }) }
		conn.send(1, "watch", func() { c.watch(conn, saw) })
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
