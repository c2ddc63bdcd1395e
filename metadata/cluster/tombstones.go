package cluster

import (
	"maps"

	"moldau.dev/services/topicid"
)

// ForgetTombstones drops the memory of deleted topics. To be applied only once
// no node can hold their data any more.
type ForgetTombstones struct{ IDs []topicid.ID }

func (c ForgetTombstones) apply(s *State, d *Delta) error {
	for _, id := range c.IDs {
		if s.Tombstones[id] == nil {
			continue
		}
		if len(d.Forgotten) == 0 {
			s.Tombstones = maps.Clone(s.Tombstones)
		}
		delete(s.Tombstones, id)
		d.Forgotten = append(d.Forgotten, id)
	}
	return nil
}
