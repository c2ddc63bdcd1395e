package replication

import "moldau.dev/services/errcode"

// The frames of a session, between a follower and the leader. What is an effect
// of one side is an event of the other. Each names the follower, the session,
// which the follower numbers upwards, and the leader epoch: a frame of another
// one is dropped (R5).

// Begin asks the leader for a session (R1). Follower → leader.
type Begin struct {
	Node        int32
	NodeEpoch   int64
	Session     uint64
	LeaderEpoch int32
	// End and DurableEnd of the follower's log, and the epoch of its last record,
	// or -1.
	End, DurableEnd int64
	LastEpoch       int32
}

// Ack tells how far the follower's log reaches (R5). Follower → leader.
type Ack struct {
	Node            int32
	NodeEpoch       int64
	Session         uint64
	LeaderEpoch     int32
	End, DurableEnd int64
}

// Accept says that the follower's log is a prefix of the leader's: Data follows
// from offset From on. Leader → follower.
type Accept struct {
	Node        int32
	Session     uint64
	LeaderEpoch int32
	From        int64
	Progress
}

// Progress is how far a leader is. It comes with each Accept and Data.
type Progress struct {
	HighWatermark int64
	LogStart      int64
}

// Diverge says that the follower's log is none of the leader's: the largest
// epoch that the leader knows up to the follower's last, and where it ends (R2).
// It ends the session. Leader → follower.
type Diverge struct {
	Node        int32
	Session     uint64
	LeaderEpoch int32
	End         EpochEnd
}

// Reset says that the leader's log starts after the follower's ends: the
// follower goes on from Start with an empty log. It ends the session. Leader →
// follower.
type Reset struct {
	Node        int32
	Session     uint64
	LeaderEpoch int32
	Start       int64
}

// Refuse says that there is no session, or no longer. Leader → follower.
type Refuse struct {
	Node        int32
	Session     uint64
	LeaderEpoch int32
	Reason      errcode.Reason
}

// Data brings batches: all that the leader's log holds in [Base, End). Where
// Base equals End it brings progress alone. Leader → follower; whoever carries
// out an Accept makes them, in the order of offsets.
type Data struct {
	Node        int32
	Session     uint64
	LeaderEpoch int32
	Base, End   int64
	Progress
}
