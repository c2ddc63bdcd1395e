package group

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

func mapKeys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

// world has honest clients of one group, of both protocols.
type world struct {
	*rapid.T
	s       *script
	replies map[shard.Ticket]shard.Reply
	clients map[string]*client
	made    int
}

// client is a member as it sees itself.
type client struct {
	name, id  string // id is what the coordinator calls it
	classic   bool
	topics    []string
	epoch     int32      // or generation
	owns      partitions // works on these
	mayOwn    partitions // was told to, and will once it has given up the rest
	joining   shard.Ticket
	syncing   shard.Ticket
	leader    bool
	members   []*coordinatorv1.JoinedMember
	saw       int // partitions of all topics when it assigned
	lastHeard time.Time
}

func newWorld(t *rapid.T) *world {
	w := &world{T: t, s: newScript(t), replies: map[shard.Ticket]shard.Reply{}, clients: map[string]*client{}}
	w.s.topic("t", 5)
	w.s.topic("u", 2)
	return w
}

// ask asks and takes in all replies that come.
func (w *world) ask(message any) shard.Ticket {
	w.s.ticket++
	var nonce [16]byte
	copy(nonce[:], fmt.Sprintf("%d", w.s.ticket))
	w.step(shard.Request{Ticket: w.s.ticket, Message: message, Nonce: nonce})
	return w.s.ticket
}

func (w *world) step(e shard.Event) {
	out := w.s.m.Step(w.s.now, e)
	w.s.journal = append(w.s.journal, out.Records...)
	for _, r := range out.Replies {
		if _, again := w.replies[r.Ticket]; again || r.Ticket == 0 || r.Ticket > w.s.ticket {
			w.Fatalf("ticket %d was answered already, or not asked", r.Ticket)
		}
		w.replies[r.Ticket] = r
	}
}

func (w *world) pass(d time.Duration) {
	for end := w.s.now.Add(d); ; {
		at := w.s.m.Deadline()
		if at.IsZero() || at.After(end) {
			w.s.now = end
			return
		}
		w.s.now = at
		w.step(shard.Tick{})
	}
}

// names are the clients in order.
func (w *world) names() []string { return slices.Sorted(maps.Keys(w.clients)) }

func (w *world) pick() *client {
	if len(w.clients) == 0 {
		w.Skip("nobody is there")
	}
	return w.clients[rapid.SampledFrom(w.names()).Draw(w.T, "client")]
}

func (w *world) start(classic bool) {
	if len(w.clients) >= 5 {
		w.Skip("enough")
	}
	w.made++
	c := &client{name: fmt.Sprintf("c%d", w.made), classic: classic, topics: []string{"t"}, lastHeard: w.s.now}
	if rapid.Bool().Draw(w.T, "both topics") {
		c.topics = append(c.topics, "u")
	}
	w.clients[c.name] = c
}

// beat lets a client do what is next for it.
func (w *world) beat(c *client) {
	if c.classic {
		w.beatClassic(c)
	} else {
		w.beatConsumer(c)
	}
	// A client that hears nothing for its session gives up what it has.
	if w.s.now.Sub(c.lastHeard) >= 45*time.Second && c.epoch > 0 {
		c.reset()
	}
}

func (c *client) reset() {
	*c = client{name: c.name, classic: c.classic, topics: c.topics, lastHeard: c.lastHeard}
}

func (w *world) beatConsumer(c *client) {
	q := &coordinatorv1.HeartbeatMemberRequest{
		GroupId: "g", MemberId: c.name, MemberEpoch: c.epoch, RebalanceTimeoutMs: -1, Owned: &coordinatorv1.Ownership{Partitions: partitionsToProto(c.owns)},
	}
	if c.epoch == 0 {
		q.RebalanceTimeoutMs, q.Subscription = 30_000, &coordinatorv1.Subscription{Topics: c.topics, HasTopics: true}
	}
	r := w.replies[w.ask(q)]
	if r.Err != nil {
		c.reset()
		return
	}
	a := r.Message.(*coordinatorv1.HeartbeatMemberResponse)
	c.epoch, c.lastHeard = a.GetMemberEpoch(), w.s.now
	if a.GetAssignment() != nil {
		c.mayOwn, _ = partitionsFromProto(a.GetAssignment().GetPartitions())
		// It gives up at once, and takes what is new.
		c.owns = c.mayOwn
	}
}

func (w *world) beatClassic(c *client) {
	if c.joining != 0 || c.syncing != 0 {
		w.hear(c)
		return
	}
	if c.epoch == 0 && c.id == "" {
		w.join(c)
		return
	}
	r := w.replies[w.ask(&coordinatorv1.HeartbeatGroupRequest{GroupId: "g", MemberId: c.id, Generation: c.epoch})]
	switch errcode.ReasonOf(r.Err) {
	case "":
		c.lastHeard = w.s.now
		if c.leader && c.saw != w.partitions() {
			w.join(c) // as clients do when their topics have changed
		}
	case errcode.RebalanceInProgress:
		w.join(c)
	default:
		c.reset()
	}
}

// join gives up nothing: it is a cooperative client. What it has it tells.
func (w *world) join(c *client) {
	meta := w.s.bytes("sub(" + strings.Join(c.topics, "+") + "|" + w.text(c.owns) + ")")
	c.joining = w.ask(&coordinatorv1.JoinGroupRequest{
		GroupId: "g", MemberId: c.id, ClientId: c.name, SessionTimeoutMs: 45_000, RebalanceTimeoutMs: 60_000, ProtocolType: "consumer",
		Protocols: []*coordinatorv1.Protocol{{Name: "cooperative-sticky", Metadata: meta}},
	})
	w.hear(c)
}

func (w *world) text(p partitions) string {
	var all []string
	for _, x := range p {
		all = append(all, fmt.Sprintf("%s-%d", w.s.view.TopicsByID[x.topic].Name, x.index))
	}
	return strings.Join(all, "+")
}

// hear takes in what a parked request was answered.
func (w *world) hear(c *client) {
	if r, answered := w.replies[c.joining]; c.joining != 0 && answered {
		c.joining = 0
		c.lastHeard = w.s.now
		if r.Err != nil {
			if errcode.ReasonOf(r.Err) == errcode.RebalanceInProgress {
				return // and joins again
			}
			c.reset()
			return
		}
		a := r.Message.(*coordinatorv1.JoinGroupResponse)
		c.id, c.epoch, c.leader, c.members = a.GetMemberId(), a.GetGeneration(), a.GetLeaderId() == a.GetMemberId(), a.GetMembers()
		w.syncGroup(c)
	}
	if r, answered := w.replies[c.syncing]; c.syncing != 0 && answered {
		c.syncing = 0
		c.lastHeard = w.s.now
		switch errcode.ReasonOf(r.Err) {
		case "":
			list, err := readAssignment(r.Message.(*coordinatorv1.SyncGroupResponse).GetAssignment())
			if err != nil {
				w.Fatal(err)
			}
			c.owns = w.s.m.partitionsByName(list)
		case errcode.RebalanceInProgress:
		default:
			c.reset()
		}
	}
}

// syncGroup assigns, where it leads, as a cooperative assignor does: nobody gets
// what another one still says to have.
func (w *world) syncGroup(c *client) {
	q := &coordinatorv1.SyncGroupRequest{GroupId: "g", MemberId: c.id, Generation: c.epoch}
	if c.leader {
		c.saw = w.partitions()
		q.Assignments = w.assignments(c.members)
	}
	c.syncing = w.ask(q)
	w.hear(c)
}

func (w *world) partitions() (n int) {
	for _, t := range w.s.view.Topics {
		n += len(t.Partitions)
	}
	return n
}

func (w *world) assignments(members []*coordinatorv1.JoinedMember) (list []*coordinatorv1.MemberAssignment) {
	owner, subs := map[partition]int{}, make([]subscription, len(members))
	for i, x := range members {
		s, err := readSubscription(x.GetMetadata())
		if err != nil {
			w.Fatal(err)
		}
		subs[i] = s
		for _, p := range w.s.m.partitionsByName(s.owned) {
			owner[p] = i
		}
	}
	turn := 0
	for _, name := range []string{"t", "u"} {
		topic := w.s.view.Topics[name]
		for n := range topic.Partitions {
			p := partition{topic.ID, int32(n)}
			if _, has := owner[p]; has {
				continue
			}
			for range members {
				turn = (turn + 1) % len(members)
				if slices.Contains(subs[turn].topics, name) {
					owner[p] = turn
					break
				}
			}
		}
	}
	for i, x := range members {
		var mine []partition
		for p, o := range owner {
			if o == i {
				mine = append(mine, p)
			}
		}
		list = append(list, &coordinatorv1.MemberAssignment{MemberId: x.GetMemberId(), Assignment: writeAssignment(1, w.s.m.byName(newPartitions(mine)))})
	}
	return list
}

// checkOwners is invariant 19: no partition is worked on by two clients at once,
// and the coordinator knows who has each.
func (w *world) checkOwners() {
	owner := map[partition]string{}
	for _, name := range w.names() {
		c := w.clients[name]
		if w.s.now.Sub(c.lastHeard) >= 30*time.Second {
			continue // it may have been removed, and will hear of it
		}
		for _, p := range c.owns {
			if other := owner[p]; other != "" {
				w.Fatalf("%v is owned by %s and %s\n%s", p, other, name, dump(w.s.m))
			}
			owner[p] = name
		}
	}
	if g, ok := w.s.m.groups["g"].(*consumerGroup); ok {
		held := map[partition]string{}
		for _, x := range g.inOrder() {
			for _, h := range slices.Concat(x.assigned, x.revoking) {
				if other := held[h.partition]; other != "" || g.owners[h.partition] != x.id {
					w.Fatalf("%v is held by %q and %q", h.partition, other, x.id)
				}
				held[h.partition] = x.id
			}
		}
	}
}

// settle lets all clients do what they want until nothing changes, and requires
// that all is assigned then (liveness).
func (w *world) settle() {
	for range 60 {
		w.pass(3 * time.Second)
		for _, name := range w.names() {
			w.beat(w.clients[name])
		}
		w.checkOwners()
	}
	owned, wanted := 0, map[string]bool{}
	for _, c := range w.clients {
		owned += len(c.owns)
		for _, topic := range c.topics {
			wanted[topic] = true
		}
	}
	want := 0
	for topic := range wanted {
		want += len(w.s.view.Topics[topic].Partitions)
	}
	if owned != want {
		w.Fatalf("%d of %d partitions are owned\n%s", owned, want, dump(w.s.m))
	}
	if g := w.s.m.groups["g"]; len(w.clients) > 0 && g.state() != "Stable" {
		w.Fatalf("the group is %s", g.state())
	}
}

// TestHonestClientsShareAGroup lets clients of one protocol, or of both, come,
// go, fall silent, and commit, while topics grow and coordinators crash.
func TestHonestClientsShareAGroup(t *testing.T) {
	for name, protocols := range map[string][]bool{"classic": {true}, "next generation": {false}, "both": {true, false}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t)
				t.Repeat(map[string]func(*rapid.T){
					"start": func(t *rapid.T) { w.T = t; w.start(rapid.SampledFrom(protocols).Draw(t, "classic")) },
					"beat":  func(t *rapid.T) { w.T = t; w.beat(w.pick()) },
					"beat all": func(t *rapid.T) {
						w.T = t
						for _, name := range w.names() {
							w.beat(w.clients[name])
						}
					},
					"pass": func(t *rapid.T) {
						w.T = t
						w.pass(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
					},
					"leave":  func(t *rapid.T) { w.T = t; w.leave(w.pick()) },
					"commit": func(t *rapid.T) { w.T = t; w.commit(w.pick()) },
					"grow": func(t *rapid.T) {
						w.T = t
						if n := len(w.s.view.Topics["u"].Partitions); n < 5 {
							w.s.topic("u", int32(n+1))
						}
					},
					"crash": func(t *rapid.T) { w.T = t; w.crash() },
					"": func(t *rapid.T) {
						w.T = t
						w.checkOwners()
						if rapid.IntRange(0, 3).Draw(t, "replay") == 0 {
							checkReplay(t, w.s, rapid.IntRange(0, len(w.s.journal)).Draw(t, "compacted"))
						}
					},
				})
				w.T = t
				w.settle()
			})
		})
	}
}

func (w *world) leave(c *client) {
	if c.classic && c.id != "" {
		w.ask(&coordinatorv1.LeaveGroupRequest{GroupId: "g", Members: []*coordinatorv1.LeavingMember{{MemberId: c.id}}})
	} else if !c.classic && c.epoch > 0 {
		w.ask(&coordinatorv1.HeartbeatMemberRequest{GroupId: "g", MemberId: c.name, MemberEpoch: -1})
	}
	delete(w.clients, c.name)
}

// commit is invariants 19 and 20: what a client commits of what it has is
// taken, unless it has been removed, and told then.
func (w *world) commit(c *client) {
	if len(c.owns) == 0 {
		return
	}
	topic := w.s.view.TopicsByID[c.owns[0].topic]
	id := c.name
	if c.classic {
		id = c.id
	}
	w.made++
	o := &coordinatorv1.Offset{Topic: topic.Name, Partition: c.owns[0].index, Offset: int64(w.made), LeaderEpoch: -1}
	r := w.replies[w.ask(&coordinatorv1.CommitOffsetsRequest{GroupId: "g", MemberId: id, Generation: c.epoch, Offsets: []*coordinatorv1.Offset{o}})]
	if r.Err != nil {
		return
	}
	f := w.replies[w.ask(&coordinatorv1.FetchOffsetsRequest{Groups: []*coordinatorv1.FetchGroupOffsets{{
		GroupId: "g", MemberEpoch: -1, Keys: []*coordinatorv1.OffsetKey{{Topic: topic.Name, Partition: o.Partition}},
	}}})]
	if got := f.Message.(*coordinatorv1.FetchOffsetsResponse).GetGroups()[0].GetOffsets()[0].GetOffset(); got != o.Offset {
		w.Fatalf("committed %d, got %d", o.Offset, got)
	}
}

// crash replays the journal into a new machine; whoever waited hears that the
// coordinator is not there.
func (w *world) crash() {
	w.s.load()
	for _, c := range w.clients {
		if c.joining != 0 || c.syncing != 0 {
			w.hear(c)
			c.joining, c.syncing = 0, 0
		}
	}
}
