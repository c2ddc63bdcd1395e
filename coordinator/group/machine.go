// Package group decides what groups do: who is a member, which partitions each
// holds, and which offsets are committed. It knows the classic protocol, in
// which one member assigns for all, and the next generation (KIP-848), in which
// the coordinator does; a group may go over from one to the other while its
// members are at work. Its Machine is pure and runs in a coordinator's shard
// (above it), over a partition of __consumer_offsets.
//
// Invariant: of one generation or epoch, a partition has at most one owner
// (invariant 19), and what was committed is told until it is overwritten or
// expires (invariant 20).
package group

import (
	"fmt"
	"reflect"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// Machine is the groups of one shard, as a shard.Machine. It answers the
// requests about groups of the coordinator's contract.
type Machine struct {
	base   Config // where the cluster says nothing else
	cfg    Config
	view   *metadataclient.View
	topics uint64 // counts the changes of view.Topics
	// deleted is how many deletions of topics have been looked at.
	deleted int
	// maxBytes bounds what one step may write, which one append must take.
	maxBytes int

	groups  map[string]group
	offsets offsets
	timers  *shard.Timers[timer]
	commits map[uint64]*transactionCommit // under verification, by call
	calls   uint64
	counts  Counts

	now   time.Time
	nonce [16]byte // of the request that is served
	out   shard.Effects
	bytes int // of out.Records
}

var _ shard.Machine = (*Machine)(nil)

// group is one group: a *classicGroup or a *consumerGroup.
type group interface {
	// state is Kafka's name of the state that the group is in.
	state() string
	// kind is Kafka's name of the group's type.
	kind() string
	// protocolType is such as `consumer`; empty in a group that only holds offsets.
	protocol() string
	// isEmpty tells whether the group has no members.
	isEmpty() bool
	// awaitsMembers tells whether somebody was given an id to join with.
	awaitsMembers() bool
	// subscribes tells whether a member reads a topic, or may do so.
	subscribes(m *Machine, topic string) bool
	// mayCommit tells whether who asks may commit; the function returned, unless
	// nil, must allow each partition.
	mayCommit(m *Machine, by commitBy) (func(topic string, partition int32) error, error)
	// expiresFrom is since when the time of an offset counts, that was committed
	// at some time; false where it does not.
	expiresFrom(commitMs int64) (int64, bool)
}

// timer names a deadline.
type timer struct {
	what   timerKind
	group  string
	member string
}

type timerKind uint8

const (
	timerSession   timerKind = iota // a member has been silent
	timerJoin                       // a classic group has waited for its members to join
	timerSync                       // a classic group has waited for its members to sync
	timerRevoke                     // a consumer member has not given up partitions
	timerLateJoin                   // a classic member of a consumer group has not joined again
	timerLateSync                   // a classic member of a consumer group has not synced
	timerAssign                     // targets of a consumer group are not all written
	timerSweep                      // look for expired offsets
	timerSweepMore                  // the last look did not come to its end
)

// New returns a Machine that knows nothing yet. The cluster's settings go
// before cfg.
func New(cfg Config) *Machine {
	return &Machine{
		base: cfg, cfg: cfg, view: &metadataclient.View{Settings: &metadataclient.Settings{}}, maxBytes: defaultMaxBytes,
		groups: map[string]group{}, offsets: newOffsets(), timers: shard.NewTimers[timer](), commits: map[uint64]*transactionCommit{},
	}
}

// Step implements shard.Machine.
func (m *Machine) Step(now time.Time, event shard.Event) shard.Effects {
	m.now = now
	switch e := event.(type) {
	case shard.Loaded:
		m.see(e.View)
		m.resume()
	case shard.View:
		m.see(e.View)
	case shard.Request:
		m.nonce = e.Nonce
		m.request(e.Ticket, e.Message)
	case shard.Tick:
		for t, due := m.timers.Due(now); due; t, due = m.timers.Due(now) {
			m.expire(t)
		}
	case shard.Result:
		m.verified(e)
	default:
		panic(fmt.Sprintf("group: an event of type %T", e))
	}
	out := m.out
	m.out, m.bytes = shard.Effects{}, 0
	return out
}

// Deadline implements shard.Machine.
func (m *Machine) Deadline() time.Time { return m.timers.Next() }

func (m *Machine) request(t shard.Ticket, message any) {
	switch q := message.(type) {
	case *coordinatorv1.JoinGroupRequest:
		m.join(t, q)
	case *coordinatorv1.SyncGroupRequest:
		m.sync(t, q)
	case *coordinatorv1.HeartbeatGroupRequest:
		reply(m, t, q, m.heartbeatGroup)
	case *coordinatorv1.LeaveGroupRequest:
		reply(m, t, q, m.leave)
	case *coordinatorv1.HeartbeatMemberRequest:
		reply(m, t, q, m.heartbeatMember)
	case *coordinatorv1.CommitOffsetsRequest:
		reply(m, t, q, m.commit)
	case *coordinatorv1.FetchOffsetsRequest:
		reply(m, t, q, m.fetch)
	case *coordinatorv1.DeleteOffsetsRequest:
		reply(m, t, q, m.deleteOffsets)
	case *coordinatorv1.ListGroupsRequest:
		reply(m, t, q, m.list)
	case *coordinatorv1.DescribeGroupsRequest:
		reply(m, t, q, m.describe)
	case *coordinatorv1.DeleteGroupsRequest:
		reply(m, t, q, m.deleteGroups)
	case *coordinatorv1.CommitTransactionOffsetsRequest:
		m.commitInTransaction(t, q)
	case *coordinatorv1.CompleteOffsetsRequest:
		reply(m, t, q, m.complete)
	case Count:
		counts := m.count()
		m.out.Answer(t, &counts)
	default:
		panic(fmt.Sprintf("group: a request of type %T", q))
	}
}

// reply serves a request that is answered at once.
func reply[Q, A any](m *Machine, t shard.Ticket, q *Q, serve func(*Q) (*A, error)) {
	answer, err := serve(q)
	if err != nil {
		m.out.Refuse(t, err)
		return
	}
	m.out.Answer(t, answer)
}

// see takes in a view of metadata.
func (m *Machine) see(v *metadataclient.View) {
	if reflect.ValueOf(v.Topics).UnsafePointer() != reflect.ValueOf(m.view.Topics).UnsafePointer() {
		m.topics++
		m.maxBytes = maxStepBytes(v)
	}
	m.view = v
	m.noteDeleted()
	interval := m.cfg.SweepInterval
	m.cfg = m.base.with(v.Settings.Configs)
	if m.cfg.SweepInterval != interval {
		m.setTimer(timer{what: timerSweep}, m.cfg.SweepInterval)
	}
}

const (
	// OffsetsTopic holds the journals of groups.
	OffsetsTopic    = "__consumer_offsets"
	defaultMaxBytes = 1 << 20
)

// maxStepBytes is how much one step may write, so that an append takes it with
// all that its records carry beside their values.
func maxStepBytes(v *metadataclient.View) int {
	cfg := topicconfig.Default()
	if t := v.Topics[OffsetsTopic]; t != nil {
		if own, err := topicconfig.Parse(t.Configs); err == nil {
			cfg = own
		}
	}
	return int(cfg.MaxMessageBytes)
}

// resume goes on where the owner before ended: nobody has been silent yet.
func (m *Machine) resume() {
	m.setTimer(timer{what: timerSweep}, m.cfg.SweepInterval)
	for _, id := range sortedKeys(m.offsets.groups) {
		if m.groups[id] == nil { // it only holds offsets, and has no record
			m.groups[id] = newClassicGroup(id, m.nowMs())
		}
	}
	for _, id := range sortedKeys(m.groups) {
		switch g := m.groups[id].(type) {
		case *classicGroup:
			m.resumeClassic(g)
		case *consumerGroup:
			m.resumeConsumer(g)
		}
	}
}

func (m *Machine) expire(t timer) {
	switch t.what {
	case timerSweep, timerSweepMore:
		m.sweep(t)
		return
	}
	switch g := m.groups[t.group].(type) {
	case *classicGroup:
		m.expireClassic(g, t)
	case *consumerGroup:
		m.expireConsumer(g, t)
	}
}

func (m *Machine) setTimer(t timer, after time.Duration) { m.timers.Set(t, m.now.Add(after)) }

func (m *Machine) nowMs() int64 { return m.now.UnixMilli() }

func (m *Machine) write(r journal.Record) {
	m.out.Write(r)
	m.bytes += r.Size()
}

func refuse(r errcode.Reason, format string, args ...any) *errcode.Error {
	return errcode.New(r, format, args...)
}

func ms(n int32) time.Duration { return time.Duration(n) * time.Millisecond }
