// Package replication decides how one partition is replicated: who is in sync,
// what is committed, where logs part and what is cut. It is Kafka's protocol
// (in-sync replicas, leader epochs, high watermark) in the form of streams: the
// follower opens a session, the leader pushes, the follower acknowledges.
//
// It is pure. A Leader and a Follower are state machines, Step(now, event) →
// effects, without goroutine, clock, I/O or randomness: the same steps give the
// same effects, so that a failing seed of the simulator replays exactly. The
// storage node is the shell around them: it carries out effects and tells what
// happened by events. README.md has the protocol and both tables.
//
// The invariant to remember: the high watermark passes an offset only when every
// replica that anybody might take for in sync holds all before it (rules R6 and
// R7, invariants 5 and 6).
package replication

import "time"

// Config is what both roles go by.
type Config struct {
	// LagMax is replica.lag.time.max.ms: a replica that for so long has not held
	// all that the leader had leaves the in-sync replicas.
	LagMax time.Duration
	// RetryMin and RetryMax bound the pause before a refused session or a proposal
	// without an answer is tried again; it doubles from one to the other.
	RetryMin, RetryMax time.Duration
	// Lease is how long a leader may answer after the heartbeat that confirmed it
	// (R12); a new leader waits it out where the former has not resigned.
	Lease time.Duration
}

// DefaultConfig is Kafka's where Kafka has the setting.
func DefaultConfig() Config {
	return Config{
		LagMax:   30 * time.Second,
		RetryMin: 50 * time.Millisecond,
		RetryMax: time.Second,
		Lease:    3 * time.Second,
	}
}

// Partition is what metadata says of a partition in one partition epoch.
type Partition struct {
	LeaderEpoch    int32
	PartitionEpoch int32
	// Replicas in metadata's order, this node included.
	Replicas []Replica
	ISR      []int32
	// MinISR is min.insync.replicas as of this partition epoch, 1 to
	// len(Replicas) (R11).
	MinISR int
	// Recovering says that the leader was chosen with loss (R13).
	Recovering bool
	// Durable says that only what is fsynced counts (R15).
	Durable bool
}

// Replica is one replica's node, as metadata knows it.
type Replica struct {
	Node int32
	// NodeEpoch of its last registration; 0 where it is not known.
	NodeEpoch int64
	// Live: registered, and neither fenced nor shutting down.
	Live bool
}

// Local is the replica that a Leader or Follower is about.
type Local struct {
	Node      int32
	NodeEpoch int64
	Log       Log
	// End is the offset after the log's last record, DurableEnd the offset before
	// which everything survives a power loss, HighWatermark the last one known;
	// HighWatermark ≤ End.
	End, DurableEnd, HighWatermark int64
}

// Log is what is asked of a log directly; commitlog.Log is one.
type Log interface {
	// StartOffset is the first offset.
	StartOffset() int64
	// LatestEpoch is the leader epoch of the last record, or -1.
	LatestEpoch() int32
	// EndOffsetForEpoch returns the largest known epoch that is not above epoch,
	// and where it ends; -1 and -1 where epoch is above all known ones; epoch
	// itself and the start of the first where it is below all known ones.
	EndOffsetForEpoch(epoch int32) (int32, int64)
}

// EpochEnd is where a leader epoch ends: the offset after its last record. An
// Epoch of -1 stands for a log without epochs.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// Event is something that happened; see the types that a Step takes.
type Event any

// Effect is something to do. The shell carries effects out in their order. The
// slice is valid until the next Step.
type Effect any

// counted is how far a log counts: in a durable topic what is fsynced, else all
// of it (R6, R15).
func counted(durable bool, end, durableEnd int64) int64 {
	if durable {
		return min(end, durableEnd)
	}
	return end
}
