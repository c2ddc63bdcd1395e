package replication

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"moldau.dev/services/errcode"
)

// A model of what is around the cores: logs that lose what was not fsynced, a
// network that breaks, a controller (R9, R10) whose answers may be lost. It
// checks the invariants as it goes.

type rec struct {
	epoch int32
	value int
}

type modelLog struct {
	recs    []rec
	durable int64
}

func (l *modelLog) StartOffset() int64 { return 0 }
func (l *modelLog) end() int64         { return int64(len(l.recs)) }

func (l *modelLog) LatestEpoch() int32 {
	if len(l.recs) == 0 {
		return -1
	}
	return l.recs[len(l.recs)-1].epoch
}

func (l *modelLog) EndOffsetForEpoch(epoch int32) (int32, int64) {
	if len(l.recs) == 0 || epoch > l.LatestEpoch() {
		return -1, -1
	}
	if epoch < l.recs[0].epoch {
		return epoch, 0
	}
	floor, end := int32(-1), int64(0)
	for i, r := range l.recs {
		if r.epoch <= epoch {
			floor, end = r.epoch, int64(i+1)
		}
	}
	return floor, end
}

func (l *modelLog) cut(to int64) {
	l.recs = l.recs[:to]
	l.durable = min(l.durable, to)
}

// state is the controller's truth, and what nodes see of it.
type state struct {
	leader              int32
	leaderEpoch, partEp int32
	changes             int
	isr, elr            []int32
	nodeEpoch           map[int32]int64
	fenced              map[int32]bool
}

func (s state) clone() state {
	c := s
	c.isr, c.elr = slices.Clone(s.isr), slices.Clone(s.elr)
	c.nodeEpoch, c.fenced = map[int32]int64{}, map[int32]bool{}
	for k, v := range s.nodeEpoch {
		c.nodeEpoch[k] = v
	}
	for k, v := range s.fenced {
		c.fenced[k] = v
	}
	return c
}

type frame struct {
	from int32
	body any
}

type node struct {
	id       int32
	epoch    int64
	alive    bool
	lost     bool // its power went with it
	view     state
	log      *modelLog
	hw       int64 // as stored in a checkpoint
	leader   *Leader
	follower *Follower
	session  uint64
	wake     time.Time
	waits    map[int64]int // offsets that producers wait for
}

type model struct {
	fail    func(format string, args ...any)
	now     time.Time
	durable bool
	minISR  int
	cfg     Config
	nodes   map[int32]*node
	truth   state
	links   map[[2]int32][]frame // open connections, follower → leader is [follower, leader] both ways
	open    map[[2]int32]bool
	alters  []alter // requests under way
	acked   map[int64]int
	value   int
	highest int64 // high watermark that anybody showed
	trace   []string
}

type alter struct {
	from int32
	p    Propose
}

type alterReply struct {
	to int32
	a  Altered
}

var ids = []int32{1, 2, 3}

func newModel(durable bool, minISR int, fail func(string, ...any)) *model {
	m := &model{
		fail: fail, now: time.Unix(1_000_000, 0), durable: durable, minISR: minISR, cfg: DefaultConfig(),
		nodes: map[int32]*node{}, links: map[[2]int32][]frame{}, open: map[[2]int32]bool{}, acked: map[int64]int{},
	}
	m.truth = state{leader: 1, isr: slices.Clone(ids), nodeEpoch: map[int32]int64{}, fenced: map[int32]bool{}}
	for _, id := range ids {
		m.truth.nodeEpoch[id] = 1
		m.nodes[id] = &node{id: id, epoch: 1, alive: true, log: &modelLog{}}
	}
	for _, id := range ids {
		m.see(m.nodes[id])
	}
	return m
}

func (m *model) partition(s *state) Partition {
	p := Partition{LeaderEpoch: s.leaderEpoch, PartitionEpoch: s.partEp, ISR: slices.Clone(s.isr), MinISR: m.minISR, Durable: m.durable}
	for _, id := range ids {
		p.Replicas = append(p.Replicas, Replica{Node: id, NodeEpoch: s.nodeEpoch[id], Live: !s.fenced[id]})
	}
	return p
}

// see gives a node the controller's newest state.
func (m *model) see(n *node) {
	old, first := n.view, n.leader == nil && n.follower == nil
	n.view = m.truth.clone()
	if !first && old.leaderEpoch == n.view.leaderEpoch {
		m.step(n, Metadata{m.partition(&n.view)})
		return
	}
	m.part(n)
	former := []int32{}
	for _, id := range ids { // whoever lives may have led
		if id != n.id && !n.view.fenced[id] && n.view.leaderEpoch > 0 {
			former = append(former, id)
		}
	}
	local := Local{Node: n.id, NodeEpoch: n.epoch, Log: n.log, End: n.log.end(), DurableEnd: n.log.durable, HighWatermark: n.hw}
	p := m.partition(&n.view)
	n.waits = map[int64]int{}
	if n.view.leader == n.id {
		m.checkLeader(n)
		var out []Effect
		n.leader, n.follower = nil, nil
		n.leader, out = NewLeader(m.now, m.cfg, local, p, former)
		m.carry(n, slices.Clone(out))
		return
	}
	n.leader, n.follower = nil, NewFollower(m.cfg, local, p, n.session)
}

// part breaks all of a node's connections.
func (m *model) part(n *node) {
	for _, id := range ids {
		m.cut(n.id, id)
		m.cut(id, n.id)
	}
}

func (m *model) cut(follower, leader int32) {
	k := [2]int32{follower, leader}
	if !m.open[k] {
		return
	}
	delete(m.open, k)
	delete(m.links, k)
	delete(m.links, [2]int32{leader, -follower})
	if f := m.nodes[follower]; f.alive && f.follower != nil {
		m.step(f, Detached{})
	}
	if l := m.nodes[leader]; l.alive && l.leader != nil {
		if p := l.leader.peer(follower); p != nil && p.session != 0 {
			m.step(l, Ended{follower, p.session})
		}
	}
}

func (m *model) connect(follower int32) {
	f := m.nodes[follower]
	if !f.alive || f.follower == nil || f.view.leader < 0 {
		return
	}
	k := [2]int32{follower, f.view.leader}
	if m.open[k] || !m.nodes[f.view.leader].alive {
		return
	}
	m.open[k] = true
	m.step(f, Attached{})
}

// deliver hands the oldest frame of a direction over.
func (m *model) deliver(k [2]int32) {
	q := m.links[k]
	if len(q) == 0 {
		return
	}
	fr := q[0]
	m.links[k] = q[1:]
	to := m.nodes[max(k[1], -k[1])]
	if !to.alive {
		return
	}
	switch b := fr.body.(type) {
	case Begin, Ack:
		if to.leader != nil {
			m.step(to, b)
		} else if bg, ok := b.(Begin); ok {
			m.send(to.id, -fr.from, Refuse{Node: fr.from, Session: bg.Session, LeaderEpoch: bg.LeaderEpoch, Reason: errcode.NotLeader})
		}
	case dataFrame:
		if to.follower != nil {
			m.received(to, b)
		}
	default:
		if to.follower != nil {
			m.step(to, b)
		}
	}
}

type dataFrame struct {
	Data
	recs []rec
}

func (m *model) received(n *node, d dataFrame) {
	for _, e := range m.stepOut(n, d.Data) {
		if a, ok := e.(Append); ok {
			n.log.recs = append(n.log.recs, d.recs...)
			if n.log.end() != a.End {
				m.fail("append to %d ends at %d", a.End, n.log.end())
			}
			m.step(n, Wrote(a))
			return
		}
		m.carry(n, []Effect{e})
	}
}

func (m *model) send(from, to int32, body any) {
	// Frames to a leader travel on [follower, leader], those back on [leader, -follower].
	k := [2]int32{from, to}
	conn := k
	if to < 0 {
		conn = [2]int32{-to, from}
	}
	if m.open[conn] {
		m.links[k] = append(m.links[k], frame{from, body})
	}
}

func (m *model) stepOut(n *node, e Event) []Effect {
	m.trace = append(m.trace, strings.ReplaceAll(fmt.Sprintf("%d ← %T%+v", n.id, e, e), "replication.", ""))
	if n.leader != nil {
		return slices.Clone(n.leader.Step(m.now, e))
	}
	return slices.Clone(n.follower.Step(m.now, e))
}

func (m *model) step(n *node, e Event) { m.carry(n, m.stepOut(n, e)) }

// carry does what a core wants done.
func (m *model) carry(n *node, effects []Effect) {
	for _, e := range effects {
		m.trace = append(m.trace, strings.ReplaceAll(fmt.Sprintf("%d → %T%+v", n.id, e, e), "replication.", ""))
		switch e := e.(type) {
		case Begin:
			n.session = e.Session
			m.send(n.id, n.view.leader, e)
		case Ack:
			m.send(n.id, n.view.leader, e)
		case Accept:
			m.send(n.id, -e.Node, e)
			m.feed(n, e)
		case Diverge:
			m.send(n.id, -e.Node, e)
		case Reset:
			m.send(n.id, -e.Node, e)
		case Refuse:
			m.send(n.id, -e.Node, e)
		case AdvanceHW:
			m.advance(n, e.HighWatermark)
		case Propose:
			m.alters = append(m.alters, alter{n.id, e})
		case Truncate:
			if e.BelowHW {
				m.fail("node %d cuts to %d, its high watermark is %d (invariant 12)", n.id, e.To, n.follower.HighWatermark())
			}
			n.log.cut(e.To)
			m.step(n, Cut{0, n.log.end(), n.log.durable})
		case Wake:
			n.wake = e.At
		case Restart:
			m.fail("node %d restarts at %d", n.id, e.Start)
		case Drop, ISRChanged, Serve, RaiseStart:
		default:
			m.fail("no such effect: %T", e)
		}
	}
}

// feed sends what the follower lacks, at once; what is appended later follows.
func (m *model) feed(n *node, a Accept) {
	if n.log.end() > a.From {
		m.push(n, a.Node, a.Session, a.From)
	}
}

func (m *model) push(n *node, to int32, session uint64, from int64) {
	m.send(n.id, -to, dataFrame{
		Data{Node: to, Session: session, LeaderEpoch: n.view.leaderEpoch, Base: from, End: n.log.end(), Progress: n.leader.Progress()},
		slices.Clone(n.log.recs[from:]),
	})
}

func (m *model) advance(n *node, hw int64) {
	if hw > n.log.end() || hw < n.hw {
		m.fail("node %d: high watermark %d after %d, log ends at %d (invariants 8, 9)", n.id, hw, n.hw, n.log.end())
	}
	n.hw = hw
	if n.leader == nil {
		return
	}
	if m.durable && hw > n.log.durable {
		m.fail("leader %d: high watermark %d beyond what is fsynced, %d (R15)", n.id, hw, n.log.durable)
	}
	m.highest = max(m.highest, hw)
	for o, v := range n.waits {
		if o < hw {
			if got, ok := m.acked[o]; ok && got != v {
				m.fail("offset %d is acked as %d and as %d (invariant 2)", o, got, v)
			}
			m.acked[o] = v
			delete(n.waits, o)
		}
	}
	for _, p := range n.leader.peers { // what is committed goes out with the next frame
		if p.session != 0 {
			m.push(n, p.Node, p.session, n.log.end())
		}
	}
}

func (m *model) produce(n *node) {
	if !n.alive || n.leader == nil {
		return
	}
	m.value++
	from := n.log.end()
	n.log.recs = append(n.log.recs, rec{n.view.leaderEpoch, m.value})
	if !n.leader.UnderMinISR() {
		n.waits[from] = m.value
	}
	for _, p := range n.leader.peers {
		if p.session != 0 {
			m.push(n, p.Node, p.session, from)
		}
	}
	m.step(n, Appended{n.log.end()})
}

func (m *model) flush(n *node) {
	if n.alive && n.log.durable < n.log.end() {
		n.log.durable = n.log.end()
		if n.leader != nil || n.follower != nil {
			m.step(n, Flushed{n.log.durable})
		}
	}
}

func (m *model) tick(d time.Duration) {
	m.now = m.now.Add(d)
	for _, id := range ids {
		n := m.nodes[id]
		if n.alive && !n.wake.IsZero() && !m.now.Before(n.wake) {
			n.wake = time.Time{}
			m.step(n, Tick{})
		}
	}
}

// crash kills a node. In a durable topic the power goes with it; else its page
// cache may stay.
func (m *model) crash(n *node, lose bool) {
	if !n.alive {
		return
	}
	n.alive = false
	m.part(n)
	n.leader, n.follower = nil, nil
	if lose {
		n.log.cut(n.log.durable)
		n.hw = min(n.hw, n.log.end())
	}
}

// restart registers the node anew (N1): fenced, and no candidate any more where it
// may have lost something (N3).
func (m *model) restart(n *node, lost bool) {
	if n.alive {
		return
	}
	n.alive = true
	n.epoch++
	n.lost = false
	n.log.durable = n.log.end() // recovery fsyncs
	n.hw = max(0, n.hw-1)       // the checkpoint lags
	n.session = 0
	m.truth.fenced[n.id] = true
	m.truth.nodeEpoch[n.id] = n.epoch
	lossy := int32(0)
	if lost && !m.durable {
		lossy = n.id
	}
	m.change(lossy, func(s *state) { s.isr = without(s.isr, n.id) })
	m.see(n)
}

func without(s []int32, id int32) []int32 {
	return slices.DeleteFunc(slices.Clone(s), func(o int32) bool { return o == id })
}

func (m *model) fence(id int32) {
	if !m.truth.fenced[id] {
		m.truth.fenced[id] = true
		m.change(0, func(s *state) { s.isr = without(s.isr, id) })
	}
}

func (m *model) unfence(id int32) {
	if m.nodes[id].alive && m.truth.fenced[id] {
		delete(m.truth.fenced, id)
		m.change(0, func(*state) {})
	}
}

// change makes one change of the partition, and elects (R10). lossy is a replica
// that may have lost something, or 0.
func (m *model) change(lossy int32, edit func(s *state)) {
	old, s := m.truth, m.truth.clone()
	edit(&s)
	for _, id := range old.isr {
		if !slices.Contains(s.isr, id) && !slices.Contains(s.elr, id) {
			s.elr = append(s.elr, id)
		}
	}
	s.elr = slices.DeleteFunc(s.elr, func(id int32) bool { return slices.Contains(s.isr, id) || id == lossy })
	if len(s.isr) >= m.minISR {
		s.elr = nil
	}
	live := func(id int32) bool { return !s.fenced[id] }
	if s.leader > 0 && (!slices.Contains(s.isr, s.leader) || !live(s.leader)) {
		s.leader = -1
	}
	if i := slices.IndexFunc(s.isr, live); s.leader < 0 && i >= 0 {
		s.leader = s.isr[i]
	}
	if i := slices.IndexFunc(s.elr, live); s.leader < 0 && len(s.isr) == 0 && i >= 0 {
		s.leader = s.elr[i]
		s.isr, s.elr = []int32{s.leader}, without(s.elr, s.leader)
		if len(s.isr) >= m.minISR {
			s.elr = nil
		}
	}
	s.changes++
	if s.leader != old.leader {
		s.leaderEpoch++
	}
	if s.leader != old.leader || !slices.Equal(s.isr, old.isr) || !slices.Equal(s.elr, old.elr) {
		s.partEp++
	}
	m.truth = s
}

// alter carries out a proposal (R9).
func (m *model) alter(a alter) Altered {
	s, r := &m.truth, Altered{PartitionEpoch: a.p.PartitionEpoch}
	answer := func(why errcode.Reason) Altered {
		r.Reason = why
		return r
	}
	switch {
	case a.p.LeaderEpoch > s.leaderEpoch || a.p.PartitionEpoch > s.partEp:
		m.fail("node %d knows more than the controller", a.from)
	case a.p.LeaderEpoch < s.leaderEpoch:
		return answer(errcode.FencedLeaderEpoch)
	case s.leader != a.from:
		return answer(errcode.NotLeader)
	case a.p.PartitionEpoch < s.partEp:
		return answer(errcode.InvalidUpdateVersion)
	}
	var isr []int32
	for _, i := range a.p.ISR {
		if s.fenced[i.Node] || s.nodeEpoch[i.Node] != i.NodeEpoch {
			return answer(errcode.IneligibleReplica)
		}
		isr = append(isr, i.Node)
	}
	before := s.partEp
	m.change(0, func(s *state) { s.isr = isr })
	if m.truth.partEp == before {
		m.truth.partEp++ // a proposal of what is there is a change too
	}
	p := m.partition(&m.truth)
	r.Partition = &p
	return r
}

func (m *model) answer(r alterReply) {
	if n := m.nodes[r.to]; n.alive && n.leader != nil {
		m.step(n, r.a)
	}
}

// checkLeader holds what a new leader has against what was promised
// (invariants 1 and 4).
func (m *model) checkLeader(n *node) {
	if n.view.leaderEpoch != m.truth.leaderEpoch {
		return
	}
	if n.log.end() < m.highest {
		m.fail("node %d leads with a log that ends at %d, %d is committed (invariant 4)", n.id, n.log.end(), m.highest)
	}
	for o, v := range m.acked {
		if n.log.recs[o].value != v {
			m.fail("node %d leads with %d at offset %d, %d was acked (invariant 1)", n.id, n.log.recs[o].value, o, v)
		}
	}
}

// check holds the invariants that can be seen at any moment.
func (m *model) check() {
	for _, a := range ids {
		for _, b := range ids {
			x, y := m.nodes[a], m.nodes[b]
			for o := range min(x.hw, y.hw, x.log.end(), y.log.end()) {
				if x.log.recs[o] != y.log.recs[o] {
					m.fail("offset %d is %v on node %d and %v on node %d, below both high watermarks (invariant 3)", o, x.log.recs[o], a, y.log.recs[o], b)
				}
			}
		}
	}
	l := m.nodes[max(m.truth.leader, 0)]
	if l == nil || !l.alive || l.leader == nil || l.view.leaderEpoch != m.truth.leaderEpoch {
		return
	}
	if len(l.leader.ISR()) >= m.minISR { // invariant 6
		for _, id := range append(slices.Clone(m.truth.isr), m.truth.elr...) {
			if p := l.leader.peer(id); p != nil && !p.maximal && l.leader.PartitionEpoch() == m.truth.partEp {
				m.fail("%d may be elected and is not waited for (invariant 6)", id)
			}
		}
	}
	for _, id := range ids {
		f := m.nodes[id]
		if f.alive && f.follower != nil && f.follower.Following() && f.view.leaderEpoch == m.truth.leaderEpoch {
			for o, r := range f.log.recs {
				if o >= len(l.log.recs) || l.log.recs[o] != r {
					m.fail("node %d follows, and has %v at offset %d (invariant 3)", id, r, o)
				}
			}
		}
	}
}

// calm lets the nodes but one hear metadata and each other, for some rounds.
func (m *model) calm(out int32, rounds int, producing bool) {
	for range rounds {
		for _, id := range ids {
			n := m.nodes[id]
			if id != out && n.alive && n.view.changes != m.truth.changes {
				m.see(n)
			}
		}
		for _, id := range ids {
			if f := m.nodes[id]; id != out && f.view.leader != out {
				m.connect(id)
			}
		}
		if l := m.nodes[max(m.truth.leader, 1)]; producing && l.id != out {
			m.produce(l)
		}
		for range 3 {
			for _, k := range m.directions() {
				if k[0] != out && k[1] != out && k[1] != -out {
					m.deliver(k)
				}
			}
			for _, id := range ids {
				if id != out {
					m.flush(m.nodes[id])
				}
			}
		}
		for len(m.alters) > 0 && m.alters[0].from != out {
			a := m.alters[0]
			m.alters = m.alters[1:]
			m.answer(alterReply{a.from, m.alter(a)})
		}
		m.tick(100 * time.Millisecond)
		m.check()
	}
}

// heal ends all faults and lets things come to rest.
func (m *model) heal() {
	for range 100 {
		for _, id := range ids {
			n := m.nodes[id]
			m.restart(n, n.lost)
			m.unfence(id)
		}
		m.calm(0, 1, false)
	}
	l := m.nodes[m.truth.leader]
	if l == nil || l.leader == nil || len(m.truth.isr) != len(ids) {
		m.fail("healed, and led by %d with %v in sync", m.truth.leader, m.truth.isr)
		return
	}
	if l.leader.HighWatermark() != l.log.end() {
		m.fail("healed, and the high watermark is %d of %d", l.leader.HighWatermark(), l.log.end())
	}
	for o, v := range m.acked {
		for _, id := range ids {
			if r := m.nodes[id].log.recs; int(o) >= len(r) || r[o].value != v {
				m.fail("offset %d was acked as %d and is not on node %d", o, v, id)
			}
		}
	}
}

// directions are those in which frames wait, in a fixed order.
func (m *model) directions() [][2]int32 {
	var all [][2]int32
	for k, q := range m.links {
		if len(q) > 0 {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b [2]int32) int { return int(a[0]*100+a[1]) - int(b[0]*100+b[1]) })
	return all
}

func unknown(a alter) Altered {
	return Altered{PartitionEpoch: a.p.PartitionEpoch, Reason: errcode.RequestTimedOut}
}
