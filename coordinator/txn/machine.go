// Package txn decides how transactions go: who may produce under a
// transactional id, what is in its transaction, how it ends, and who must still
// be told (T1–T11, T13, T16). Its Machine is pure and runs in a coordinator's
// shard (above it), over a partition of __transaction_state; markers are
// written by storage nodes and by the shards of groups (below and beside it).
//
// Invariant: a transaction's end is decided by one record and never changes. An
// answer leaves, and a marker is sent, only after the record that it follows
// from is durable (T8, T11): the shard sees to that, so a machine that is
// replayed may take over at any moment.
package txn

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// Topic holds the journals of transactions; Kind is the kind of the records in
// them, whose key has one part, the transactional id.
const (
	Topic              = "__transaction_state"
	Kind  journal.Kind = 64
)

// Bounds of one shard.
const (
	// MaxIDBytes is the longest transactional id.
	MaxIDBytes = 4096
	// maxParticipants of one transaction: its record fits one batch.
	maxParticipants = 20_000
	// maxIDs of one shard: beyond it new ones wait for old ones to expire.
	maxIDs = 100_000
)

// Machine is the transactions of one shard, as a shard.Machine.
type Machine struct {
	base   Config // where the cluster says nothing else
	cfg    Config
	epoch  int64 // of the owner (T1)
	txns   map[string]*transaction
	timers *shard.Timers[string] // when an id times out, or expires
	ids    producerIDs

	calls    map[uint64]string // markers under way, by call: the transactional id (T10)
	lastCall uint64

	nowMs int64
	out   shard.Effects
}

var _ shard.Machine = (*Machine)(nil)

// transaction is one transactional id.
type transaction struct {
	id string
	*Record
}

// New returns a Machine that knows nothing yet. The cluster's settings go
// before cfg.
func New(cfg Config) *Machine {
	return &Machine{
		base: cfg, cfg: cfg, txns: map[string]*transaction{}, timers: shard.NewTimers[string](), calls: map[uint64]string{},
	}
}

// Replay implements shard.Machine.
func (m *Machine) Replay(r journal.Record) error {
	kind, parts, err := journal.ParseKey(r.Key)
	switch {
	case err != nil:
		return err
	case kind != Kind || len(parts) != 1:
		return fmt.Errorf("a record of kind %d with %d parts is no transaction", kind, len(parts))
	case r.Value == nil:
		delete(m.txns, parts[0])
		return nil
	}
	var value coordinatorv1.TransactionRecord
	if err := journal.ReadValue(r.Value, &value); err != nil {
		return err
	}
	record, err := FromProto(&value)
	if err != nil {
		return err
	}
	m.txns[parts[0]] = &transaction{parts[0], record}
	return nil
}

// Step implements shard.Machine.
func (m *Machine) Step(now time.Time, event shard.Event) shard.Effects {
	m.nowMs = now.UnixMilli()
	switch e := event.(type) {
	case shard.Loaded:
		m.epoch = e.Epoch
		m.configure(e.View.Settings)
		m.resume()
	case shard.View:
		if m.configure(e.Settings) {
			m.setAllTimers()
		}
	case shard.Request:
		m.request(e.Ticket, e.Message)
	case shard.Tick:
		for id, due := m.timers.Due(now); due; id, due = m.timers.Due(now) {
			m.expire(m.txns[id])
		}
	case shard.Result:
		m.result(e)
	default:
		panic(fmt.Sprintf("txn: an event of type %T", e))
	}
	out := m.out
	m.out = shard.Effects{}
	return out
}

// Deadline implements shard.Machine.
func (m *Machine) Deadline() time.Time { return m.timers.Next() }

func (m *Machine) request(t shard.Ticket, message any) {
	switch q := message.(type) {
	case InitProducer:
		m.initProducer(t, q)
	case AddParticipants:
		m.addParticipants(t, q)
	case EndTransaction:
		m.endTransaction(t, q)
	case List:
		m.list(t, q)
	case Describe:
		m.describe(t, q)
	default:
		panic(fmt.Sprintf("txn: a request of type %T", q))
	}
}

// resume goes on where the owner before ended: the markers of all that is
// decided are sent again (T11).
func (m *Machine) resume() {
	m.setAllTimers()
	for _, id := range slices.Sorted(maps.Keys(m.txns)) {
		if t := m.txns[id]; t.State.preparing() {
			m.sendMarkers(t)
		}
	}
}

func (m *Machine) call(message any) uint64 {
	m.lastCall++
	m.out.Calls = append(m.out.Calls, shard.Call{ID: m.lastCall, Message: message})
	return m.lastCall
}

func (m *Machine) result(r shard.Result) {
	if r.ID == m.ids.call {
		m.allocated(r)
		return
	}
	id := m.calls[r.ID]
	delete(m.calls, r.ID)
	if t := m.txns[id]; r.Err != nil {
		m.sendMarkers(t) // as it is for as long as it takes
	} else {
		m.complete(t)
	}
}

// write makes r what is known of t.
func (m *Machine) write(t *transaction, r Record) {
	if before := t.Record; before != nil && !r.State.follows(before.State) || before == nil && r.State != Empty {
		panic(fmt.Sprintf("txn: %s would go to %s, which it may not", t.id, r.State))
	}
	r.UpdateMs = m.nowMs
	t.Record = &r
	m.out.Write(journal.Put(Kind, r.Proto(), t.id))
	m.setTimer(t)
}

func (m *Machine) refuse(t shard.Ticket, reason errcode.Reason, format string, args ...any) {
	m.out.Refuse(t, errcode.New(reason, format, args...))
}

func (m *Machine) answer(t shard.Ticket, who Identity) { m.out.Answer(t, &who) }
