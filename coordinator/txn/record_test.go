package txn

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"moldau.dev/coordinator/journal"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/topicid"
)

func whole() *Record {
	return &Record{
		State: PrepareCommit, Producer: Identity{8, 0}, Previous: Identity{7, lastEpoch}, Marker: Identity{7, math.MaxInt16}, Version: 2,
		TimeoutMs: 60_000, StartMs: 1, UpdateMs: 2, Revision: 9, Ended: Ended{Identity{7, lastEpoch}, true, ByProducer},
		Participants: NewParticipants([]Partition{{topicid.ID{2}, 0}, {topicid.ID{1}, 5}, {topicid.ID{1}, 0}, {topicid.ID{1}, 5}}, []int32{4, 1, 4}),
	}
}

func TestARecordComesBackAsItWas(t *testing.T) {
	for _, r := range []*Record{
		whole(), {State: Empty, Producer: Identity{0, 0}, Previous: Nobody, Marker: Nobody, Ended: Ended{Producer: Nobody}},
	} {
		got, err := FromProto(r.Proto())
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v came back as %+v, %v", r, got, err)
		}
	}
}

// TestTheLargestTransactionFitsOneBatch: a record that no batch holds would end
// the shard.
func TestTheLargestTransactionFitsOneBatch(t *testing.T) {
	r := whole()
	r.Participants = Participants{}
	for i := range maxParticipants {
		r.Participants.Partitions = append(r.Participants.Partitions, Partition{topicid.ID{byte(i >> 16), byte(i >> 8), byte(i)}, math.MaxInt32})
	}
	record := journal.Put(Kind, r.Proto(), strings.Repeat("x", MaxIDBytes))
	if most := 1 << 20 * 3 / 4; record.Size() > most {
		t.Errorf("%d bytes, %d fit", record.Size(), most)
	}
}

func TestWhatNoRecordCanHoldIsRefused(t *testing.T) {
	for name, change := range map[string]func(*coordinatorv1.TransactionRecord){
		"no state":              func(m *coordinatorv1.TransactionRecord) { m.State = 0 },
		"a state of tomorrow":   func(m *coordinatorv1.TransactionRecord) { m.State = 7 },
		"a version of tomorrow": func(m *coordinatorv1.TransactionRecord) { m.TransactionVersion = 3 },
		"no producer":           func(m *coordinatorv1.TransactionRecord) { m.Producer = nil },
		"no marker":             func(m *coordinatorv1.TransactionRecord) { m.Marker = nil },
		"an epoch too high":     func(m *coordinatorv1.TransactionRecord) { m.Marker.ProducerEpoch = math.MaxInt16 + 1 },
		"a negative id":         func(m *coordinatorv1.TransactionRecord) { m.Previous.ProducerId = -1 },
		"an end by nobody":      func(m *coordinatorv1.TransactionRecord) { m.Ended.By = 0 },
		"an id that is short":   func(m *coordinatorv1.TransactionRecord) { m.Partitions[0].TopicId = []byte{1} },
	} {
		m := whole().Proto()
		change(m)
		if r, err := FromProto(m); err == nil {
			t.Errorf("%s passed: %+v", name, r)
		}
	}
}

func TestRecordsOfOthersAreNotReplayed(t *testing.T) {
	value := journal.Put(Kind, whole().Proto(), "a").Value
	for name, r := range map[string]journal.Record{
		"another kind":  {Key: journal.Key(Kind+1, "a"), Value: value},
		"another key":   {Key: journal.Key(Kind, "a", "b"), Value: value},
		"no key":        {Value: value},
		"another value": {Key: journal.Key(Kind, "a"), Value: []byte{9}},
		"no record":     {Key: journal.Key(Kind, "a"), Value: []byte{1}},
	} {
		if err := New(DefaultConfig()).Replay(r); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// FuzzReplay reads arbitrary values: no panic, and what is taken is written as
// it was read.
func FuzzReplay(f *testing.F) {
	f.Add(journal.Put(Kind, whole().Proto(), "a").Value)
	f.Add([]byte{1, 8, 1})
	f.Fuzz(func(t *testing.T, value []byte) {
		m := New(DefaultConfig())
		if value == nil || m.Replay(journal.Record{Key: journal.Key(Kind, "a"), Value: value}) != nil {
			return
		}
		again, err := FromProto(m.txns["a"].Proto())
		if err != nil || !proto.Equal(again.Proto(), m.txns["a"].Proto()) {
			t.Errorf("%+v became %+v, %v", m.txns["a"].Record, again, err)
		}
	})
}
