package cluster

import (
	"maps"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// RegisterCoordinator puts a coordinator into service as it says that it is.
// The first one ever brings the shards into being. It is given shards that
// nobody owns; those of others come to it by BalanceShards.
type RegisterCoordinator struct{ Coordinator *metadatav1.CoordinatorState }

func (c RegisterCoordinator) apply(s *State, d *Delta) error {
	in := c.Coordinator
	if in.GetCoordinatorId() < 0 {
		return errcode.New(errcode.InvalidArgument, "coordinator id %d is negative", in.GetCoordinatorId()).WithField("coordinator.coordinator_id")
	}
	if in.GetIncarnation() == "" {
		return errcode.New(errcode.InvalidArgument, "a coordinator must name its incarnation").WithField("coordinator.incarnation")
	}
	if in.GetAddress() == "" {
		return errcode.New(errcode.InvalidArgument, "a coordinator must say where it listens").WithField("coordinator.address")
	}
	if err := checkText("coordinator", in.GetIncarnation(), in.GetAddress()); err != nil {
		return err
	}
	old := s.Coordinators[in.GetCoordinatorId()]
	if SameCoordinator(old, in) && !old.GetFenced() {
		return nil
	}
	s.putCoordinator(d, &metadatav1.CoordinatorState{
		CoordinatorId: in.GetCoordinatorId(), Incarnation: in.GetIncarnation(), Address: in.GetAddress(),
	})
	if len(s.Shards) == 0 {
		s.Shards = make([]*metadatav1.ShardState, s.shardCount())
		for i := range s.Shards {
			s.Shards[i] = &metadatav1.ShardState{Owner: noOwner}
		}
	}
	anew := old != nil && old.Incarnation != in.GetIncarnation()
	s.assignShards(d, 0, func(owner int32) bool { return anew && owner == in.GetCoordinatorId() })
	return nil
}

// SameCoordinator tells whether two states are of one incarnation that says the
// same of itself.
func SameCoordinator(a, b *metadatav1.CoordinatorState) bool {
	return a != nil && b != nil && a.GetIncarnation() == b.GetIncarnation() && a.GetAddress() == b.GetAddress()
}

// FenceCoordinators takes coordinators out of service; others get their shards
// at once.
type FenceCoordinators struct{ IDs []int32 }

func (c FenceCoordinators) apply(s *State, d *Delta) error {
	for _, id := range c.IDs {
		old := s.Coordinators[id]
		if old == nil || old.Fenced {
			continue
		}
		s.putCoordinator(d, &metadatav1.CoordinatorState{
			CoordinatorId: old.CoordinatorId, Incarnation: old.Incarnation, Address: old.Address, Fenced: true,
		})
	}
	s.assignShards(d, 0, nobody)
	return nil
}

// ForgetCoordinators drops coordinators that are fenced.
type ForgetCoordinators struct{ IDs []int32 }

func (c ForgetCoordinators) apply(s *State, d *Delta) error {
	for _, id := range c.IDs {
		if old := s.Coordinators[id]; old == nil || !old.Fenced {
			continue
		}
		s.Coordinators = maps.Clone(s.Coordinators)
		delete(s.Coordinators, id)
		d.Coordinators = append(d.Coordinators, id)
	}
	return nil
}

// BalanceShards moves at most Most shards from coordinators that own more than
// their share to those that own less.
type BalanceShards struct{ Most int }

func (c BalanceShards) apply(s *State, d *Delta) error {
	s.assignShards(d, c.Most, nobody)
	return nil
}

func nobody(int32) bool { return false }
