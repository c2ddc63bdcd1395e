package txn

import (
	"regexp"

	"moldau.dev/services/errcode"
)

// What a Machine is asked. Each is the Message of a shard.Request.
type (
	// InitProducer asks for an identity (T6). It is answered by an *Identity.
	InitProducer struct {
		// ID is the transactional id; empty for a producer that is idempotent alone.
		ID        string
		TimeoutMs int32
		// Expected is the identity that a continuing producer has, or Nobody
		// (KIP-360).
		Expected Identity
	}

	// AddParticipants adds to a transaction, or only verifies that what it names
	// was added (T7, T8). It is answered by a *Verdict.
	AddParticipants struct {
		ID           string
		Producer     Identity
		Participants Participants
		VerifyOnly   bool
		// Revision of the metadata that knows the partitions.
		Revision int64
	}

	// EndTransaction commits or aborts (T3, T4). It is answered by the *Identity
	// to go on with.
	EndTransaction struct {
		ID       string
		Producer Identity
		Commit   bool
		// Version is the protocol that the client speaks: 1 keeps the epoch, 2
		// raises it.
		Version int8
		// Force aborts whatever producer holds the id, and fences it.
		Force bool
		// AllowEmpty lets a transaction that nothing was added to commit.
		AllowEmpty bool
	}

	// List asks for transactional ids. It is answered by a *[]Listed, sorted.
	List struct {
		States       []string // by Kafka's names; all where empty
		ProducerIDs  []int64  // all where empty
		LongerThanMs int64    // since its newest transaction began; below 0: all
		ID           *regexp.Regexp
	}

	// Describe asks for transactional ids. It is answered by a *[]Listed with one
	// for each, whose Record is nil where the id is not known.
	Describe struct{ IDs []string }
)

// Verdict is what was found of each participant, in the order of the
// participants; no error where it is in the transaction.
type Verdict struct {
	Partitions, OffsetShards []*errcode.Error
	CoordinatorEpoch         int64 // of who found it
}

// Listed is one transactional id.
type Listed struct {
	ID string
	*Record
}

// What a Machine asks. Each is the Message of a shard.Call.
type (
	// SendMarkers ends a transaction at its participants. It is answered, by
	// anything, once each of them has its marker below the high watermark, or is
	// deleted (T10): until then it is tried (invariant 26).
	SendMarkers struct {
		ID string // of the transaction, for people
		// Producer is the identity that the markers carry.
		Producer         Identity
		CoordinatorEpoch int64
		Version          int8 // 1 or 2: whether the epoch of the marker is raised (T9)
		Commit           bool
		Participants     Participants
		// Revision of the metadata that knew all partitions: what a later one lacks
		// is deleted.
		Revision int64
	}

	// AllocateProducerIDs asks for a block of ids, answered by a ProducerIDs.
	AllocateProducerIDs struct{}

	// ProducerIDs are ids that nobody else is given.
	ProducerIDs struct{ First, Count int64 }
)
