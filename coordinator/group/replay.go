package group

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"moldau.dev/coordinator/journal"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// Kinds of the journal's records of groups, with the parts of their keys.
const (
	kindClassic  journal.Kind = 1 // group → ClassicGroupRecord
	kindOffset   journal.Kind = 2 // group, topic, partition → OffsetRecord
	kindPending  journal.Kind = 3 // producer id, group, topic, partition → PendingOffsetRecord
	kindConsumer journal.Kind = 4 // group → ConsumerGroupRecord
	kindMember   journal.Kind = 5 // group, member → ConsumerMemberRecord
	kindTarget   journal.Kind = 6 // group, member → TargetRecord
	kindCurrent  journal.Kind = 7 // group, member → CurrentRecord
)

// keyParts is how many parts the key of each kind has.
var keyParts = map[journal.Kind]int{
	kindClassic: 1, kindOffset: 3, kindPending: 4, kindConsumer: 1, kindMember: 2, kindTarget: 2, kindCurrent: 2,
}

// Replay implements shard.Machine.
func (m *Machine) Replay(r journal.Record) error {
	kind, key, err := journal.ParseKey(r.Key)
	if err != nil {
		return err
	}
	if n, known := keyParts[kind]; !known || n != len(key) {
		return fmt.Errorf("a record of kind %d with %d parts is none of a group", kind, len(key))
	}
	if r.Value == nil {
		return m.replayDrop(kind, key)
	}
	switch kind {
	case kindClassic:
		return replayed(r.Value, &coordinatorv1.ClassicGroupRecord{}, func(v *coordinatorv1.ClassicGroupRecord) error {
			m.replayClassic(key[0], v)
			return nil
		})
	case kindOffset:
		return replayed(r.Value, &coordinatorv1.OffsetRecord{}, func(v *coordinatorv1.OffsetRecord) error {
			return m.replayOffset(key, v)
		})
	case kindPending:
		return replayed(r.Value, &coordinatorv1.PendingOffsetRecord{}, func(v *coordinatorv1.PendingOffsetRecord) error {
			return m.replayPending(key, v)
		})
	case kindConsumer:
		return replayed(r.Value, &coordinatorv1.ConsumerGroupRecord{}, func(v *coordinatorv1.ConsumerGroupRecord) error {
			g, ok := m.groups[key[0]].(*consumerGroup)
			if !ok {
				g = newConsumerGroup(key[0])
				m.groups[key[0]] = g
			}
			g.epoch, g.assigned, g.topicsHash = v.GetEpoch(), v.GetAssignmentEpoch(), v.GetTopicsHash()
			return nil
		})
	case kindMember:
		return replayed(r.Value, &coordinatorv1.ConsumerMemberRecord{}, func(v *coordinatorv1.ConsumerMemberRecord) error {
			m.replayTold(key[0], key[1], v)
			return nil
		})
	case kindTarget:
		return replayed(r.Value, &coordinatorv1.TargetRecord{}, func(v *coordinatorv1.TargetRecord) (err error) {
			_, x := m.replayMember(key[0], key[1])
			x.target, err = partitionsFromProto(v.GetPartitions())
			return err
		})
	default:
		return replayed(r.Value, &coordinatorv1.CurrentRecord{}, func(v *coordinatorv1.CurrentRecord) error {
			return m.replayCurrent(key, v)
		})
	}
}

// replayed reads a value and hands it on.
func replayed[V proto.Message](value []byte, into V, apply func(V) error) error {
	if err := journal.ReadValue(value, into); err != nil {
		return err
	}
	return apply(into)
}

func (m *Machine) replayCurrent(key []string, v *coordinatorv1.CurrentRecord) error {
	g, x := m.replayMember(key[0], key[1])
	c := current{epoch: v.GetEpoch(), previous: v.GetPreviousEpoch(), state: v.GetState()}
	var err error
	if c.assigned, err = heldFromProto(v.GetAssigned()); err != nil {
		return err
	}
	if c.revoking, err = heldFromProto(v.GetRevoking()); err != nil {
		return err
	}
	g.setCurrent(x, c)
	return nil
}

// replayDrop takes in that something was deleted. What compaction has left of a
// group that became one of the other kind must not be deleted with it.
func (m *Machine) replayDrop(kind journal.Kind, key []string) error {
	switch kind {
	case kindClassic:
		if _, ok := m.groups[key[0]].(*classicGroup); ok {
			delete(m.groups, key[0])
		}
		return nil
	case kindConsumer:
		if _, ok := m.groups[key[0]].(*consumerGroup); ok {
			delete(m.groups, key[0])
		}
		return nil
	case kindOffset:
		id, err := offsetKey(key)
		m.offsets.drop(id)
		return err
	case kindPending:
		pid, err := strconv.ParseInt(key[0], 10, 64)
		if err != nil {
			return err
		}
		id, err := offsetKey(key[1:])
		m.offsets.dropPending(pid, id)
		return err
	case kindMember:
		if g, ok := m.groups[key[0]].(*consumerGroup); ok && g.members[key[1]] != nil {
			g.remove(g.members[key[1]])
		}
		return nil
	default: // what a member holds and shall hold goes with the member
		return nil
	}
}
