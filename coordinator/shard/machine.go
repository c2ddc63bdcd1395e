// Package shard runs one state machine over one journal: the groups of a shard
// over a partition of __consumer_offsets, its transactions over one of
// __transaction_state. Above it stands the service, which starts a Shard for
// each that metadata gives it; below it is journal.
//
// Whoever writes a state machine implements Machine and sees nothing else:
//
//	journal ──Replay──▶ ┌─────────┐ ──Records──▶ journal (group commit)
//	Event ────Step────▶ │ Machine │ ──Replies──▶ callers of Ask, once durable
//	          Deadline◀ └─────────┘ ──Calls────▶ other services, once durable; answered by Result
//
// One goroutine calls it, so it needs no locks. It is told the time and never
// reads it; it starts nothing and waits for nothing; what it must do later it
// does in the Step that Deadline asks for. It changes its state at once, as if
// all its records were durable already: what the outside world sees of a Step,
// its Replies and Calls, waits until its Records and all those before are. If
// the journal ever cannot say whether it has a record, the machine is thrown
// away and a new one is replayed, so nothing of it is ever undone.
//
// Invariant: an answer tells only of what is durable, and leaves only while the
// shard is owned here (T1, invariants 20 and 21).
package shard

import (
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/metadata/metadataclient"
)

// Machine is a pure state machine: the same calls give the same effects and the
// same state. A Machine is new for each time that its shard is loaded.
type Machine interface {
	// Replay takes in one record of the journal, in order; all of them come
	// before the first Step. The record may be overwritten after the call. An
	// error says that the journal cannot be understood, and keeps the shard from
	// loading.
	Replay(r journal.Record) error
	// Step takes in one event. now never goes back.
	Step(now time.Time, event Event) Effects
	// Deadline is when the next Tick is wanted; the zero time is never. It is
	// asked after each Step.
	Deadline() time.Time
}

// Event is one of Loaded, View, Request, Tick, Result.
type Event interface{ event() }

// Loaded is the first event: the journal has been replayed.
type Loaded struct {
	// Shard is the index of the shard.
	Shard int32
	// Epoch of the shard's ownership, which is the coordinator epoch (T1).
	Epoch int64
	// View of metadata at the time.
	View *metadataclient.View
}

// View comes when metadata has changed. Views may be skipped; revisions never
// go back.
type View struct{ *metadataclient.View }

// Ticket names one Request within one life of a machine.
type Ticket uint64

// Request is a question that wants one Reply, now or in a later Step.
type Request struct {
	Ticket Ticket
	// Message is what was asked: a request of the coordinator's contract, or a
	// type of the machine's own. It may not be changed.
	Message any
	// Nonce is random, for ids that the machine must make up.
	Nonce [16]byte
}

// Tick comes when Deadline has passed.
type Tick struct{}

// Result is the answer to a Call.
type Result struct {
	ID     uint64
	Answer any
	Err    error
}

func (Loaded) event()  {}
func (View) event()    {}
func (Request) event() {}
func (Tick) event()    {}
func (Result) event()  {}

// Effects are what a Step wants done, in this order.
type Effects struct {
	// Records to append to the journal, all or none.
	Records []journal.Record
	// Replies to requests, of this Step or earlier ones.
	Replies []Reply
	// Calls to other services.
	Calls []Call
}

// Reply answers one Request, once.
type Reply struct {
	Ticket Ticket
	// Message is the answer; what the caller does with it is not the machine's
	// any more. nil where Err says why there is none.
	Message any
	Err     error
}

// Call asks another service something. Each is answered by one Result, unless
// the shard is unloaded first. How long it may take is up to who makes it.
type Call struct {
	ID      uint64 // chosen by the machine
	Message any
}

// Answer adds a Reply that carries an answer.
func (e *Effects) Answer(t Ticket, message any) {
	e.Replies = append(e.Replies, Reply{Ticket: t, Message: message})
}

// Refuse adds a Reply that carries an error, an *errcode.Error.
func (e *Effects) Refuse(t Ticket, err error) {
	e.Replies = append(e.Replies, Reply{Ticket: t, Err: err})
}

// Write adds records.
func (e *Effects) Write(records ...journal.Record) { e.Records = append(e.Records, records...) }
