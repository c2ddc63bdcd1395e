package txn

import (
	"fmt"
	"math"
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/topicid"
)

// Record is all that is known of one transactional id: what the journal keeps
// of it. A Record is never changed once made.
type Record struct {
	State State
	// Producer holds the transactional id from now on. While markers are under
	// way it already is who may begin the next transaction.
	Producer Identity
	// Previous held it before, and may still ask what became of its last request
	// (KIP-360); Nobody after a fence, and once Producer has shown itself.
	Previous Identity
	// Marker is what markers carry while State is a Prepare: the epoch of the
	// transaction, or under version 2 the one above it (T3, T9).
	Marker Identity
	// Version is the protocol that the transaction ended under, 1 or 2; 0 where
	// none has ended since Empty.
	Version   int8
	TimeoutMs int32
	StartMs   int64 // when the newest transaction began; 0 where none did
	UpdateMs  int64 // when this was written
	// Participants of the open transaction, or of the one being ended.
	Participants Participants
	// Revision of the metadata that knew all partitions of it.
	Revision int64
	// Ended is the transaction that ended last, or is ending. Its Producer is
	// Nobody where none has.
	Ended Ended
}

// Ended tells how a transaction ended.
type Ended struct {
	Producer Identity
	Commit   bool
	By       EndedBy
}

// EndedBy is who decided an end.
type EndedBy uint8

// Who may decide. A fence leaves the producer no way to go on (T6).
const (
	ByNobody EndedBy = iota
	ByProducer
	ByTimeout
	ByFence
)

// Proto returns r as the journal keeps it.
func (r *Record) Proto() *coordinatorv1.TransactionRecord {
	m := &coordinatorv1.TransactionRecord{
		State:              coordinatorv1.TransactionState(r.State) + 1,
		Producer:           identityProto(r.Producer),
		Previous:           identityProto(r.Previous),
		Marker:             identityProto(r.Marker),
		TransactionVersion: int32(r.Version),
		TimeoutMs:          r.TimeoutMs,
		StartTimeMs:        r.StartMs,
		UpdateTimeMs:       r.UpdateMs,
		OffsetShards:       r.Participants.OffsetShards,
		Revision:           r.Revision,
		Ended:              r.Ended.Proto(),
	}
	for _, p := range r.Participants.Partitions {
		last := len(m.Partitions) - 1
		if last < 0 || topicid.ID(m.Partitions[last].TopicId) != p.Topic {
			m.Partitions = append(m.Partitions, &coordinatorv1.TopicPartitions{TopicId: p.Topic[:]})
			last++
		}
		m.Partitions[last].Partitions = append(m.Partitions[last].Partitions, p.Index)
	}
	return m
}

// Proto returns e as the contract tells it; nil where nothing has ended.
func (e Ended) Proto() *coordinatorv1.EndedTransaction {
	if e.Producer == Nobody {
		return nil
	}
	return &coordinatorv1.EndedTransaction{
		Producer: identityProto(e.Producer), Committed: e.Commit, By: coordinatorv1.EndedBy(e.By),
	}
}

func identityProto(i Identity) *coordinatorv1.ProducerIdentity {
	if i == Nobody {
		return nil
	}
	return &coordinatorv1.ProducerIdentity{ProducerId: i.ProducerID, ProducerEpoch: int32(i.Epoch)}
}

// FromProto reads a record of the journal. What no Record can hold is an error:
// a newer version wrote it, or it is damaged.
func FromProto(m *coordinatorv1.TransactionRecord) (*Record, error) {
	state := m.GetState() - 1
	if state < 0 || state >= coordinatorv1.TransactionState(Dead) {
		return nil, fmt.Errorf("transaction record: state %d is not known", m.GetState())
	}
	if v := m.GetTransactionVersion(); v < 0 || v > 2 {
		return nil, fmt.Errorf("transaction record: version %d is not known", v)
	}
	r := &Record{
		State: State(state), Version: int8(m.GetTransactionVersion()), TimeoutMs: m.GetTimeoutMs(),
		StartMs: m.GetStartTimeMs(), UpdateMs: m.GetUpdateTimeMs(), Revision: m.GetRevision(),
		Ended: Ended{Producer: Nobody},
	}
	for _, f := range []struct {
		to   *Identity
		from *coordinatorv1.ProducerIdentity
	}{
		{&r.Producer, m.GetProducer()}, {&r.Previous, m.GetPrevious()}, {&r.Marker, m.GetMarker()},
		{&r.Ended.Producer, m.GetEnded().GetProducer()},
	} {
		var err error
		if *f.to, err = identityOf(f.from); err != nil {
			return nil, err
		}
	}
	if r.Producer == Nobody || r.State.preparing() != (r.Marker != Nobody) {
		return nil, fmt.Errorf("transaction record: %s without a producer, or with a marker where none belongs", r.State)
	}
	if e := m.GetEnded(); r.Ended.Producer != Nobody {
		if e.GetBy() <= 0 || e.GetBy() > coordinatorv1.EndedBy(ByFence) {
			return nil, fmt.Errorf("transaction record: ended by %d is not known", e.GetBy())
		}
		r.Ended.Commit, r.Ended.By = e.GetCommitted(), EndedBy(e.GetBy())
	}
	return r, r.readParticipants(m)
}

func (r *Record) readParticipants(m *coordinatorv1.TransactionRecord) error {
	var partitions []Partition
	for _, t := range m.GetPartitions() {
		id, err := topicid.FromBytes(t.GetTopicId())
		if err != nil {
			return fmt.Errorf("transaction record: %w", err)
		}
		for _, index := range t.GetPartitions() {
			partitions = append(partitions, Partition{id, index})
		}
	}
	r.Participants = NewParticipants(partitions, slices.Clone(m.GetOffsetShards()))
	return nil
}

func identityOf(m *coordinatorv1.ProducerIdentity) (Identity, error) {
	switch {
	case m == nil:
		return Nobody, nil
	case m.GetProducerId() < 0 || m.GetProducerEpoch() < 0 || m.GetProducerEpoch() > math.MaxInt16:
		return Nobody, fmt.Errorf("transaction record: producer %d with epoch %d cannot be", m.GetProducerId(), m.GetProducerEpoch())
	default:
		return Identity{m.GetProducerId(), int16(m.GetProducerEpoch())}, nil
	}
}
