package cluster

import "moldau.dev/services/errcode"

// AllocateProducerIDs takes the block [NextProducerID, NextProducerID+Count).
type AllocateProducerIDs struct{ Count int32 }

func (c AllocateProducerIDs) apply(s *State, d *Delta) error {
	if c.Count < 1 || c.Count > MaxProducerIDs {
		return errcode.New(errcode.InvalidArgument, "%d producer ids are not within 1 to %d", c.Count, MaxProducerIDs).WithField("count")
	}
	s.NextProducerID += int64(c.Count)
	d.ProducerIDs = true
	return nil
}
