package group

import (
	"hash/fnv"
	"slices"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// away is the epoch of a static member that has left and will be back.
const away = -2

// memberState is how far a member has come towards its target (KIP-848).
//
//	          partitions to give up          given up, others still hold some
//	STABLE ─────────────────────▶ UNREVOKED ──────────────────▶ UNRELEASED
//	  ▲ ◀──────────────────────────────┘    all free                 │
//	  └──────────────────────────────────────────────────────────────┘
type memberState = coordinatorv1.MemberState

const (
	memberStable     = coordinatorv1.MemberState_MEMBER_STATE_STABLE
	memberUnrevoked  = coordinatorv1.MemberState_MEMBER_STATE_UNREVOKED_PARTITIONS
	memberUnreleased = coordinatorv1.MemberState_MEMBER_STATE_UNRELEASED_PARTITIONS
)

// consumerGroup is a group whose members are assigned to by the coordinator.
type consumerGroup struct {
	id string
	// epoch grows with each change of members, subscriptions or topics;
	// assigned is the one that the targets were computed for.
	epoch, assigned int32
	topicsHash      uint64 // of what the targets were computed from
	seenTopics      uint64 // Machine.topics when topicsHash was last compared
	members         map[string]*consumerMember
	static          map[string]string // member by instance
	owners          map[partition]string
	matches         map[string][]string // topics by expression, as of seenMatches
	seenMatches     uint64
	staged          *staged // nil unless targets are being written
	idBytes         int     // of what deleting all members would write
}

// told is what a member has told of itself. It is never changed: a change is a
// new one.
type told struct {
	instance, rack, clientID, clientHost string
	rebalanceMs                          int32
	topics                               []string // sorted
	regex, assignor                      string
	classic                              *coordinatorv1.ClassicSide // unless nil, it speaks the classic protocol
	stream                               string                     // of moldau.v1, that speaks for it; empty for others
}

// current is what a member holds.
type current struct {
	epoch, previous int32
	state           memberState
	assigned        holdings // may hold
	revoking        holdings // must give up
}

// consumerMember is one member.
type consumerMember struct {
	id string
	told
	current
	target partitions
}

func newConsumerGroup(id string) *consumerGroup {
	return &consumerGroup{
		id: id, members: map[string]*consumerMember{}, static: map[string]string{}, owners: map[partition]string{}, matches: map[string][]string{},
	}
}

// newcomer is what a member holds that has just come.
func newcomer() current { return current{previous: -1, state: memberStable} }

func (g *consumerGroup) state() string {
	switch {
	case len(g.members) == 0:
		return "Empty"
	case g.epoch > g.assigned:
		return "Assigning"
	}
	for _, x := range g.members {
		if x.current.state != memberStable || x.epoch != g.assigned {
			return "Reconciling"
		}
	}
	return "Stable"
}

func (g *consumerGroup) kind() string     { return "consumer" }
func (g *consumerGroup) protocol() string { return consumerProtocolType }
func (g *consumerGroup) isEmpty() bool    { return len(g.members) == 0 }

func (g *consumerGroup) awaitsMembers() bool { return false }

// put makes somebody a member.
func (g *consumerGroup) put(x *consumerMember) {
	if g.members[x.id] == nil {
		g.members[x.id] = x
		g.idBytes += g.dropBytes(x)
	}
}

// dropBytes is about what deleting a member writes.
func (g *consumerGroup) dropBytes(x *consumerMember) int {
	return 3 * (len(g.id) + len(x.id) + memberOverhead)
}

// setTold takes in what a member has told.
func (g *consumerGroup) setTold(x *consumerMember, t told) {
	if x.instance != "" && g.static[x.instance] == x.id {
		delete(g.static, x.instance)
	}
	x.told = t
	if t.instance != "" {
		g.static[t.instance] = x.id
	}
}

// setCurrent takes in what a member holds. A partition has one owner
// (invariant 19): whoever must still give it up is.
func (g *consumerGroup) setCurrent(x *consumerMember, c current) {
	for _, list := range []holdings{x.assigned, x.revoking} {
		for _, h := range list {
			if g.owners[h.partition] == x.id {
				delete(g.owners, h.partition)
			}
		}
	}
	x.current = c
	for _, list := range []holdings{c.assigned, c.revoking} {
		for _, h := range list {
			g.owners[h.partition] = x.id
		}
	}
}

func (g *consumerGroup) remove(x *consumerMember) {
	g.setCurrent(x, current{})
	if x.instance != "" && g.static[x.instance] == x.id {
		delete(g.static, x.instance)
	}
	if g.members[x.id] == x {
		delete(g.members, x.id)
		g.idBytes -= g.dropBytes(x)
	}
}

// member finds who asks: by instance where one is given.
func (g *consumerGroup) member(id, instance string) (*consumerMember, error) {
	if instance == "" {
		if x := g.members[id]; x != nil {
			return x, nil
		}
		return nil, refuse(errcode.UnknownMember, "%q is no member of the group", id)
	}
	x := g.members[g.static[instance]]
	if x == nil {
		return nil, refuse(errcode.UnknownMember, "no member has instance id %q", instance)
	}
	if x.id != id {
		return nil, refuse(errcode.FencedInstance, "instance id %q is of another member", instance)
	}
	return x, nil
}

// topicsOf are the topics that a member subscribes to and that exist, by name.
func (g *consumerGroup) topicsOf(m *Machine, t *told) []*metadataclient.Topic {
	names := t.topics
	if t.regex != "" {
		names = slices.Concat(names, g.matching(m, t.regex))
		slices.Sort(names)
		names = slices.Compact(names)
	}
	topics := make([]*metadataclient.Topic, 0, len(names))
	for _, name := range names {
		if topic := m.view.Topics[name]; topic != nil {
			topics = append(topics, topic)
		}
	}
	return topics
}

// matching are the topics that an expression matches whole, of those that are
// there now, and of users.
func (g *consumerGroup) matching(m *Machine, regex string) []string {
	if g.seenMatches != m.topics {
		clear(g.matches)
		g.seenMatches = m.topics
	}
	if found, known := g.matches[regex]; known {
		return found
	}
	var found []string
	if re, err := compileWhole(regex); err == nil { // it was checked when it came
		for _, name := range sortedKeys(m.view.Topics) {
			if re.MatchString(name) && !topicconfig.IsInternal(name) {
				found = append(found, name)
			}
		}
	}
	g.matches[regex] = found
	return found
}

// hash is of all that the targets depend on beside members: the topics that
// anybody subscribes to, their incarnations and their sizes.
func (g *consumerGroup) hash(m *Machine) uint64 {
	all := map[string]*metadataclient.Topic{}
	for _, x := range g.members {
		for _, t := range g.topicsOf(m, &x.told) {
			all[t.Name] = t
		}
	}
	h := fnv.New64a()
	for _, name := range sortedKeys(all) {
		t := all[name]
		n := len(t.Partitions)
		_, _ = h.Write(t.ID[:]) // never fails
		_, _ = h.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	}
	return h.Sum64()
}

// subscribes implements group.
func (g *consumerGroup) subscribes(m *Machine, topic string) bool {
	for _, x := range g.members {
		if slices.Contains(x.topics, topic) || x.regex != "" && slices.Contains(g.matching(m, x.regex), topic) {
			return true
		}
	}
	return false
}

// inOrder returns the members by id.
func (g *consumerGroup) inOrder() []*consumerMember {
	all := make([]*consumerMember, 0, len(g.members))
	for _, id := range sortedKeys(g.members) {
		all = append(all, g.members[id])
	}
	return all
}

// classicMembers counts the members that speak the classic protocol.
func (g *consumerGroup) classicMembers() (n int) {
	for _, x := range g.members {
		if x.classic != nil {
			n++
		}
	}
	return n
}
