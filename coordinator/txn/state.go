package txn

import "slices"

// State is where a transactional id stands (T2):
//
//	 InitProducer
//	      │
//	      ▼      add           end                all have markers
//	┌──▶ Empty ──────▶ Ongoing ────▶ PrepareCommit ────────▶ CompleteCommit ──┐
//	│     │            ▲     └─────▶ PrepareAbort ─────────▶ CompleteAbort ───┤
//	│     │            └─────────────────────────── add ──────────────────────┤
//	├─────┴── InitProducer ◀──────────────────────────────────────────────────┤
//	└── Dead ◀── expired ─────────────────────────────────────────────────────┘
//
// Empty also expires, and what nothing was added to can be ended from Empty and
// from both Completes. Kafka's PrepareEpochFence, which lies between deciding to
// fence and writing it down, is no state here: the fence and the abort are one
// record (T6).
type State uint8

// The states, by Kafka's numbers.
const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	// Dead is written as a tombstone; no other state is (T16).
	Dead
)

var stateNames = []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead"}

// String is Kafka's name of the state.
func (s State) String() string { return stateNames[s] }

// KnownState tells whether Kafka has a state of that name. Its
// PrepareEpochFence counts, though nothing ever is in it here.
func KnownState(name string) bool {
	return name == "PrepareEpochFence" || slices.Contains(stateNames, name)
}

// ended are the states in which nothing is open.
func (s State) ended() bool { return s == Empty || s == CompleteCommit || s == CompleteAbort }

// preparing are the states in which markers are under way.
func (s State) preparing() bool { return s == PrepareCommit || s == PrepareAbort }

// decided are the states that follow an end, until the next beginning.
func (s State) decided() bool { return s >= PrepareCommit && s <= CompleteAbort }

// predecessors are the states that each may follow. They are Kafka's, but that
// a transaction that nothing was added to may also commit.
var predecessors = [...][]State{
	Empty:          {Empty, CompleteCommit, CompleteAbort},
	Ongoing:        {Ongoing, Empty, CompleteCommit, CompleteAbort},
	PrepareCommit:  {Ongoing, Empty, CompleteCommit, CompleteAbort},
	PrepareAbort:   {Ongoing, Empty, CompleteCommit, CompleteAbort},
	CompleteCommit: {PrepareCommit},
	CompleteAbort:  {PrepareAbort},
	Dead:           {Empty, CompleteCommit, CompleteAbort},
}

// follows tells whether s may come after before.
func (s State) follows(before State) bool { return slices.Contains(predecessors[s], before) }
