package replication

import "time"

// What a leader wants done, beside sending the frames Accept, Diverge, Reset and
// Refuse.

// Drop says that a session is over: nothing of it is to be sent any more.
type Drop struct {
	Node    int32
	Session uint64
}

// AdvanceHW says that all before HighWatermark is committed. Both roles give it.
type AdvanceHW struct{ HighWatermark int64 }

// Propose asks the controller to change the in-sync replicas (R9). There is one
// at a time; an Altered answers it. The same one may be given again, where an
// answer failed to come.
type Propose struct {
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []Member // in the order of the replicas
	Recovering     bool
}

// Member is one proposed in-sync replica.
type Member struct {
	Node int32
	// NodeEpoch that the evidence is from.
	NodeEpoch int64
}

// ISRChanged says that the committed in-sync replicas are others, or fewer or
// more of them are wanted. Those who wait for the high watermark look again.
type ISRChanged struct {
	ISR []int32
	// Grown and Shrunk count members.
	Grown, Shrunk int
}

// Serve says that no other node can still answer as leader: reads of the newest
// offset may be answered (R12).
type Serve struct{}

// Wake asks for a Tick at a time. A later Wake replaces an earlier one. Both
// roles give it.
type Wake struct{ At time.Time }

// What a follower wants done, beside sending the frames Begin and Ack.

// Append asks to write the batches of the Data frame; Wrote answers.
type Append struct{ End int64 }

// Truncate asks to cut the log to end at To, durably, with all that was derived
// from it (R3); Cut answers.
type Truncate struct {
	To int64
	// BelowHW says that committed records go: only an unclean election explains it
	// (invariant 12).
	BelowHW bool
}

// Restart asks to empty the log, durably, and to let log start, log end and high
// watermark be Start together (KAFKA-9491); Cut answers.
type Restart struct {
	Start   int64
	BelowHW bool // as in Truncate
}

// RaiseStart says that the log may start at Start, as the leader's does.
type RaiseStart struct{ Start int64 }
