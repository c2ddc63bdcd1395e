package txn

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// owner is one life of a machine: what it did is seen by others once it is
// durable, as a shard has it.
type owner struct {
	m      *Machine
	twin   *Machine        // is told the same, and must do the same
	hidden []shard.Effects // of steps that are not durable yet, oldest first
}

// history plays random requests, crashes and answers against machines that
// follow each other over one journal, and checks what others see of them.
type history struct {
	*rapid.T
	owner
	now     time.Time
	epoch   int64
	ticket  shard.Ticket
	asked   map[shard.Ticket]any
	journal []journal.Record
	calls   map[uint64]any
	nextPID int64

	given    map[Identity]bool   // to producers that begin anew
	handed   []Identity          // any identity that a producer may know
	decision map[Identity]bool   // of the transaction of an identity: committed?
	marked   map[Identity]string // what markers of an identity say
}

var (
	ids        = []string{"a", "b"}
	everything = NewParticipants([]Partition{{topicid.ID{1}, 0}, {topicid.ID{1}, 1}, {topicid.ID{2}, 0}}, []int32{3})
	settings   = &metadataclient.View{Settings: &metadataclient.Settings{}}
)

func TestWhatIsDecidedStaysSoThroughCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{
			T: t, now: time.UnixMilli(1), nextPID: 1, asked: map[shard.Ticket]any{},
			given: map[Identity]bool{}, decision: map[Identity]bool{}, marked: map[Identity]string{},
		}
		// Epochs near the end, so that ids run out of them.
		h.record("b", &Record{State: Empty, Producer: Identity{0, lastEpoch - 2}, Previous: Nobody, Marker: Nobody, TimeoutMs: 50_000, Ended: Ended{Producer: Nobody}})
		h.handed = append(h.handed, Identity{0, lastEpoch - 2})
		h.crash()
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			rapid.SampledFrom([]func(){h.init, h.add, h.add, h.end, h.end, h.sync, h.sync, h.answerCall, h.answerCall, h.pass, h.crash}).Draw(t, "what")()
		}
		h.settle()
	})
}

func (h *history) step(e shard.Event) {
	effects := h.m.Step(h.now, e)
	if twin := h.twin.Step(h.now, e); !reflect.DeepEqual(effects, twin) || !h.m.Deadline().Equal(h.twin.Deadline()) {
		h.Fatalf("a machine that is told the same does %v, not %v", twin, effects)
	}
	h.hidden = append(h.hidden, effects)
}

func (h *history) ask(q any) {
	h.ticket++
	h.asked[h.ticket] = q
	h.step(shard.Request{Ticket: h.ticket, Message: q})
}

func (h *history) id() string { return rapid.SampledFrom(ids).Draw(h.T, "id") }

func (h *history) who() Identity {
	if len(h.handed) == 0 {
		return Identity{0, 0}
	}
	from := max(0, len(h.handed)-4)
	return rapid.SampledFrom(h.handed[from:]).Draw(h.T, "who")
}

func (h *history) init() {
	q := InitProducer{ID: h.id(), TimeoutMs: 50_000, Expected: Nobody}
	if rapid.Bool().Draw(h.T, "continuing") {
		q.Expected = h.who()
	}
	h.ask(q)
}

func (h *history) add() {
	some := NewParticipants(
		rapid.SliceOfN(rapid.SampledFrom(everything.Partitions), 0, 2).Draw(h.T, "partitions"),
		rapid.SliceOfN(rapid.SampledFrom(everything.OffsetShards), 0, 1).Draw(h.T, "offsets"))
	h.ask(AddParticipants{ID: h.id(), Producer: h.who(), Participants: some, VerifyOnly: rapid.Bool().Draw(h.T, "verify")})
}

func (h *history) end() {
	h.ask(EndTransaction{
		ID: h.id(), Producer: h.who(), Commit: rapid.Bool().Draw(h.T, "commit"), Version: int8(rapid.IntRange(1, 2).Draw(h.T, "version")),
		Force: rapid.IntRange(0, 9).Draw(h.T, "force") == 0, AllowEmpty: rapid.Bool().Draw(h.T, "empty"),
	})
}

// sync makes some steps durable: now others see them.
func (h *history) sync() {
	n := rapid.IntRange(0, len(h.hidden)).Draw(h.T, "durable")
	for _, e := range h.hidden[:n] {
		h.see(e)
	}
	h.hidden = slices.Delete(h.hidden, 0, n)
}

func (h *history) see(e shard.Effects) {
	for _, r := range e.Records {
		h.journal = append(h.journal, r)
		h.recorded(r)
	}
	for _, r := range e.Replies {
		q, waits := h.asked[r.Ticket]
		if !waits {
			h.Fatalf("request %d is answered twice", r.Ticket)
		}
		delete(h.asked, r.Ticket)
		h.replied(q, r)
	}
	for _, c := range e.Calls {
		h.calls[c.ID] = c.Message
		if s, markers := c.Message.(SendMarkers); markers {
			h.sent(s)
		}
	}
}

func (h *history) record(id string, r *Record) {
	h.journal = append(h.journal, journal.Put(Kind, r.Proto(), id))
}

// recorded checks that no end is decided twice.
func (h *history) recorded(r journal.Record) {
	if r.Value == nil {
		return
	}
	var value coordinatorv1.TransactionRecord
	if err := journal.ReadValue(r.Value, &value); err != nil {
		h.Fatal(err)
	}
	record, err := FromProto(&value)
	if err != nil {
		h.Fatal(err)
	}
	if ended := record.Ended; ended.Producer != Nobody && record.Version == 2 {
		if was, decided := h.decision[ended.Producer]; decided && was != ended.Commit {
			h.Fatalf("the end of %s was decided anew", ended.Producer)
		}
		h.decision[ended.Producer] = ended.Commit
	}
}

func (h *history) replied(q any, r shard.Reply) {
	if r.Err != nil {
		return
	}
	switch q := q.(type) {
	case InitProducer:
		who := *r.Message.(*Identity)
		if q.Expected == Nobody && h.given[who] {
			h.Fatalf("%s was given to two producers", who)
		}
		if who.Epoch > lastEpoch {
			h.Fatalf("%s is beyond the last epoch", who)
		}
		h.given[who] = true
		h.handed = append(h.handed, who)
	case EndTransaction:
		if q.Force {
			return
		}
		h.handed = append(h.handed, *r.Message.(*Identity))
		// Under version 1 one identity has many transactions.
		if how, decided := h.decision[q.Producer]; decided && q.Version == 2 && how != q.Commit {
			h.Fatalf("%s was told otherwise than was decided", q.Producer)
		}
	}
}

// sent checks that no marker is sent both ways, under version 2, which has an
// identity for each (T9).
func (h *history) sent(s SendMarkers) {
	what := fmt.Sprintf("commit %v", s.Commit)
	if s.CoordinatorEpoch != h.epoch {
		h.Fatalf("markers under epoch %d by the owner of epoch %d", s.CoordinatorEpoch, h.epoch)
	}
	if was := h.marked[s.Producer]; s.Version == 2 && was != "" && was != what {
		h.Fatalf("markers of %s say %s, and said %s", s.Producer, what, was)
	}
	h.marked[s.Producer] = what
}

func (h *history) answerCall() {
	open := slices.Sorted(maps.Keys(h.calls))
	if len(open) == 0 {
		return
	}
	id := rapid.SampledFrom(open).Draw(h.T, "call")
	fails := rapid.IntRange(0, 4).Draw(h.T, "fails") == 0
	message := h.calls[id]
	delete(h.calls, id)
	result := shard.Result{ID: id}
	switch {
	case fails:
		result.Err = errcode.New(errcode.NodeUnavailable, "gone")
	case message == AllocateProducerIDs{}:
		result.Answer = ProducerIDs{h.nextPID, 3}
		h.nextPID += 3
	}
	h.step(result)
}

func (h *history) pass() {
	h.now = h.now.Add(time.Duration(rapid.SampledFrom([]int{1, 1000, 50_000, 700_000_000}).Draw(h.T, "ms")) * time.Millisecond)
	h.tick()
}

func (h *history) tick() {
	for at := h.m.Deadline(); !at.IsZero() && !at.After(h.now); at = h.m.Deadline() {
		h.step(shard.Tick{})
	}
}

// crash loses what is not durable; a new owner replays the rest.
func (h *history) crash() {
	h.epoch++
	h.hidden, h.calls = nil, map[uint64]any{}
	clear(h.asked)
	h.m, h.twin = New(DefaultConfig()), New(DefaultConfig())
	for _, r := range h.journal {
		for _, m := range []*Machine{h.m, h.twin} {
			if err := m.Replay(r); err != nil {
				h.Fatal(err)
			}
		}
	}
	h.step(shard.Loaded{Epoch: h.epoch, View: settings})
}

// settle lets all faults end: then every transaction ends (invariant 26), and
// the journal holds what the machine has.
func (h *history) settle() {
	for round := 0; len(h.hidden) > 0 || len(h.calls) > 0 || round < 2; round++ {
		for _, e := range h.hidden {
			h.see(e)
		}
		h.hidden = nil
		for _, id := range slices.Sorted(maps.Keys(h.calls)) {
			result := shard.Result{ID: id}
			if (h.calls[id] == AllocateProducerIDs{}) {
				result.Answer = ProducerIDs{h.nextPID, 100}
				h.nextPID += 100
			}
			delete(h.calls, id)
			h.step(result)
		}
		h.now = h.now.Add(51 * time.Second)
		h.tick()
		if round > 20 {
			h.Fatal("it does not come to rest")
		}
	}
	if len(h.asked) > 0 {
		h.Fatalf("never answered: %v", h.asked)
	}
	has := h.m
	h.crash()
	for id, t := range has.txns {
		if !t.State.ended() {
			h.Errorf("%s hangs in %s", id, t.State)
		}
		if !reflect.DeepEqual(t.Record, h.m.txns[id].Record) {
			h.Errorf("%s is %+v, the journal has %+v", id, t.Record, h.m.txns[id].Record)
		}
	}
}
