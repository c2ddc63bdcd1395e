package replication

import "moldau.dev/services/errcode"

// What happens to a leader, beside the frames Begin and Ack.

// Appended says that the leader's own log grew to End.
type Appended struct{ End int64 }

// Flushed says that the own log is durable up to End. Both roles take it.
type Flushed struct{ End int64 }

// Ended says that a session's connection broke.
type Ended struct {
	Node    int32
	Session uint64
}

// Overtaken says that what a session was to be sent next is gone: retention was
// there first.
type Overtaken struct {
	Node    int32
	Session uint64
}

// Resigned says that a node no longer leads in any epoch below LeaderEpoch (R12).
type Resigned struct {
	Node        int32
	LeaderEpoch int32
}

// Metadata says what metadata now says of the partition, in the same leader
// epoch. Both roles take it; a view that is older than the answer to a proposal
// may come after it.
type Metadata struct{ Partition Partition }

// Altered is the answer to a Propose.
type Altered struct {
	// PartitionEpoch that the proposal started from.
	PartitionEpoch int32
	// Reason is empty where the change was made. It is RequestTimedOut, or any
	// other reason that the table does not know as the controller's answer, where
	// the outcome is unknown.
	Reason errcode.Reason
	// Partition as the answer shows it; nil where it shows none.
	Partition *Partition
}

// Tick says that the time that a Wake named has come, or any later one. Both
// roles take it.
type Tick struct{}

// What happens to a follower, beside the frames Accept, Diverge, Reset, Refuse
// and Data.

// Attached says that there is a connection to the leader.
type Attached struct{}

// Detached says that the connection broke.
type Detached struct{}

// Wrote says that the batches of an Append are in the log, which ends at End.
type Wrote struct{ End int64 }

// Cut says that a Truncate or Restart is done, durably: the log starts at Start
// and ends at End. Less than was asked for may be left: batches are cut whole.
// What is left need not have been fsynced yet: that it is up to DurableEnd.
type Cut struct{ Start, End, DurableEnd int64 }
