package group

import (
	"bytes"
	"cmp"
	"slices"

	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// classicState is where a classic group is in its round. A group that was
// deleted is not there: Kafka's Dead.
//
//	         first member          all joined, or time is up          leader synced
//	EMPTY ─────────────▶ PREPARING ────────────────▶ COMPLETING ───────────────▶ STABLE
//	  ▲                   │    ▲                          │                         │
//	  └───────────────────┘    └──────────────────────────┴─────────────────────────┘
//	     nobody joined                 a member comes, leaves, or changes
type classicState int8

const (
	empty classicState = iota
	preparing
	completing
	stable
)

func (s classicState) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[s]
}

// classicGroup is a group whose members assign among themselves.
type classicGroup struct {
	id            string
	now, before   classicState
	sinceMs       int64 // of the state
	protocolType  string
	protocolName  string // chosen; empty before the first generation
	generation    int32
	leader        string
	members       map[string]*classicMember
	static        map[string]string // member by instance
	pending       map[string]bool   // was given an id, and has not joined with it (KIP-394)
	unsynced      map[string]bool   // has not synced in this generation
	supporters    map[string]int    // members that know a protocol
	lastSeat      uint64
	joining       int  // members whose JoinGroup waits
	grown         bool // has a new member since the initial delay began
	initial, left int32
	topics        map[string]bool // that members subscribe to
	topicsKnown   bool
	bytes         int  // of all members
	written       bool // the journal knows the group
	unsettled     bool // was just made of a consumer group: its members must join again
}

// classicMember is one member.
type classicMember struct {
	id, instance, clientID, clientHost string
	sessionMs, rebalanceMs             int32
	protocols                          []*coordinatorv1.Protocol
	assignment                         []byte
	seat                               uint64 // by which members are ordered
	isNew                              bool   // has not had an answer to its JoinGroup
	join, sync                         shard.Ticket
}

func newClassicGroup(id string, nowMs int64) *classicGroup {
	return &classicGroup{
		id: id, sinceMs: nowMs, members: map[string]*classicMember{}, static: map[string]string{},
		pending: map[string]bool{}, unsynced: map[string]bool{}, supporters: map[string]int{},
	}
}

func (g *classicGroup) state() string    { return g.now.String() }
func (g *classicGroup) kind() string     { return "classic" }
func (g *classicGroup) protocol() string { return g.protocolType }
func (g *classicGroup) isEmpty() bool    { return g.now == empty }

func (g *classicGroup) awaitsMembers() bool { return len(g.pending) > 0 }

// inOrder returns the members in the order in which they joined.
func (g *classicGroup) inOrder() []*classicMember {
	all := make([]*classicMember, 0, len(g.members))
	for _, x := range g.members {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *classicMember) int { return cmp.Compare(a.seat, b.seat) })
	return all
}

func (g *classicGroup) enter(s classicState, nowMs int64) {
	g.before, g.now, g.sinceMs = g.now, s, nowMs
}

func (g *classicGroup) add(x *classicMember) {
	g.lastSeat++
	x.seat = g.lastSeat
	g.members[x.id] = x
	if x.instance != "" {
		g.static[x.instance] = x.id
	}
	g.leader = cmp.Or(g.leader, x.id)
	g.count(x, 1)
	delete(g.pending, x.id)
}

func (g *classicGroup) remove(id string) {
	if x := g.members[id]; x != nil {
		delete(g.members, id)
		g.count(x, -1)
		if x.join != 0 {
			g.joining--
		}
		if x.instance != "" {
			delete(g.static, x.instance)
		}
	}
	if g.leader == id {
		g.leader = ""
		if rest := g.inOrder(); len(rest) > 0 {
			g.leader = rest[0].id
		}
	}
	delete(g.pending, id)
	delete(g.unsynced, id)
}

// count adds a member to what the group knows of all, or takes it away.
func (g *classicGroup) count(x *classicMember, by int) {
	for _, p := range x.protocols {
		g.supporters[p.GetName()] += by
		g.bytes += by * (len(p.GetName()) + len(p.GetMetadata()))
	}
	g.bytes += by * (len(x.id) + len(x.instance) + len(x.clientID) + len(x.clientHost) + memberOverhead)
}

// memberOverhead is about what a member takes in the journal beside its texts.
const memberOverhead = 64

// update takes in what a member says of itself when it joins again.
func (g *classicGroup) update(x *classicMember, q *coordinatorv1.JoinGroupRequest) {
	g.count(x, -1)
	x.protocols, x.rebalanceMs, x.sessionMs = q.GetProtocols(), q.GetRebalanceTimeoutMs(), q.GetSessionTimeoutMs()
	g.count(x, 1)
}

func (g *classicGroup) park(x *classicMember, t shard.Ticket) {
	if x.join == 0 {
		g.joining++
	}
	x.join = t
}

// matches tells whether a member joins with what it said before.
func (x *classicMember) matches(protocols []*coordinatorv1.Protocol) bool {
	return slices.EqualFunc(x.protocols, protocols, func(a, b *coordinatorv1.Protocol) bool {
		return a.GetName() == b.GetName() && bytes.Equal(a.GetMetadata(), b.GetMetadata())
	})
}

// metadata is what the member says under a protocol.
func (x *classicMember) metadata(protocol string) []byte {
	for _, p := range x.protocols {
		if p.GetName() == protocol {
			return p.GetMetadata()
		}
	}
	return nil
}

// supports tells whether somebody with these protocols may be a member.
func (g *classicGroup) supports(protocolType string, protocols []*coordinatorv1.Protocol) bool {
	if protocolType == "" || len(protocols) == 0 {
		return false
	}
	if g.now == empty {
		return true
	}
	return g.protocolType == protocolType && slices.ContainsFunc(protocols, func(p *coordinatorv1.Protocol) bool {
		return g.supporters[p.GetName()] == len(g.members)
	})
}

// choose has each member vote for the first of its protocols that all know. Of
// those with the most votes that wins which was voted for first.
func (g *classicGroup) choose() string {
	votes, best := map[string]int{}, ""
	members := g.inOrder()
	for _, x := range members {
		for _, p := range x.protocols {
			if g.supporters[p.GetName()] == len(g.members) {
				votes[p.GetName()]++
				break
			}
		}
	}
	for _, x := range members {
		for _, p := range x.protocols {
			if votes[p.GetName()] > votes[best] {
				best = p.GetName()
			}
		}
	}
	return best
}

// rebalanceMs is the longest time that a member wants to have for joining again.
func (g *classicGroup) rebalanceMs() (longest int32) {
	for _, x := range g.members {
		longest = max(longest, x.rebalanceMs)
	}
	return longest
}

func (g *classicGroup) allJoined() bool { return len(g.members) == g.joining && len(g.pending) == 0 }

// check tells whether a member is one, under the instance that it names.
func (g *classicGroup) check(member, instance string) error {
	if instance != "" {
		if id, known := g.static[instance]; !known {
			return refuse(errcode.UnknownMember, "no member has instance id %q", instance)
		} else if id != member {
			return refuse(errcode.FencedInstance, "instance id %q is of another member", instance)
		}
	}
	if g.members[member] == nil {
		return refuse(errcode.UnknownMember, "%q is no member of the group", member)
	}
	return nil
}

// learnTopics notes what the members of a generation subscribe to, where they
// are consumers.
func (g *classicGroup) learnTopics() {
	g.topics, g.topicsKnown = map[string]bool{}, g.protocolType == consumerProtocolType
	if !g.topicsKnown {
		return
	}
	for _, x := range g.members {
		s, err := readSubscription(x.metadata(g.protocolName))
		if err != nil {
			g.topics, g.topicsKnown = nil, false
			return
		}
		for _, topic := range s.topics {
			g.topics[topic] = true
		}
	}
}

// subscribes implements group: where it is not known, consumers may.
func (g *classicGroup) subscribes(_ *Machine, topic string) bool {
	if g.topicsKnown {
		return g.topics[topic]
	}
	return g.protocolType == consumerProtocolType
}
