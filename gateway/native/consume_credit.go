package native

import (
	"context"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// credit counts the records that a stream has sent and that are not committed.
// It follows from the committed offsets alone: reader and gateway keep no count
// that the other must agree with. It is pure.
type credit struct {
	most int64 // 0: no bound
	sent map[storageclient.PartitionID][]sentFrame
}

// sentFrame is one frame: so many records of [first, next).
type sentFrame struct{ first, next, records int64 }

func newCredit(most int64) *credit {
	return &credit{most: most, sent: map[storageclient.PartitionID][]sentFrame{}}
}

// left is how many records may be sent now.
func (c *credit) left() int64 {
	if c.most == 0 {
		return noLimit
	}
	left := c.most
	for _, frames := range c.sent {
		for _, f := range frames {
			left -= f.records
		}
	}
	return left
}

func (c *credit) send(id storageclient.PartitionID, f sentFrame) {
	if c.most > 0 && f.records > 0 {
		c.sent[id] = append(c.sent[id], f)
	}
}

// commit takes in that all before an offset is committed.
func (c *credit) commit(id storageclient.PartitionID, at int64) {
	frames := c.sent[id]
	for len(frames) > 0 && frames[0].next <= at {
		frames = frames[1:]
	}
	if len(frames) == 0 {
		delete(c.sent, id)
		return
	}
	if f := &frames[0]; at > f.first { // no more are left of it than it has offsets
		f.first, f.records = at, min(f.records, f.next-at)
	}
	c.sent[id] = frames
}

// forget takes in that a partition is read no longer.
func (c *credit) forget(id storageclient.PartitionID) { delete(c.sent, id) }

// spend counts a frame that was sent.
func (c *consuming) spend(f *moldauv1.ReadRecords, first int64) {
	if c.credit.most == 0 {
		return
	}
	n := int64(len(f.GetRecords()))
	for rest := f.GetRecordBatches(); len(rest) > 0; {
		_, after, h, err := record.Next(rest)
		if err != nil {
			break // it was read before
		}
		if rest = after; !h.Control() {
			n += int64(h.Count)
		}
	}
	for id, p := range c.byID {
		if p.topic == f.GetTopic() && id.Index == f.GetPartition() {
			c.credit.send(id, sentFrame{first, f.GetNextOffset(), n})
		}
	}
}

// earn takes in what was committed by this gateway, and looks for what was
// committed by others while the credit is used up.
func (c *consuming) earn(ctx context.Context) {
	for id, at := range c.m.takeStored() {
		c.credit.commit(id, at)
	}
	c.left = c.credit.left()
	if c.left > 0 || c.earning {
		return
	}
	c.earning = true
	var ids []storageclient.PartitionID
	for id := range c.credit.sent {
		ids = append(ids, id)
	}
	go func() {
		if !c.s.pause(ctx, commitCheck) {
			c.earned <- nil
			return
		}
		ask := &coordinatorv1.FetchGroupOffsets{GroupId: c.q.group, MemberEpoch: noMember}
		for _, id := range ids {
			ask.Keys = append(ask.Keys, &coordinatorv1.OffsetKey{TopicId: id.Topic[:], Partition: id.Index})
		}
		found, err := c.s.fetchOffsets(ctx, ask, false)
		if err != nil {
			c.earned <- nil // asked again soon
			return
		}
		c.earned <- offsetsByID(found)
	}()
}

// discard gives back a poll that came when the credit was used up.
func (c *consuming) discard(p *poll) {
	for _, part := range p.parts {
		part.polled = false
	}
	p.release()
}

// stored tells the stream what was committed by this gateway.
func (m *consumer) stored(s *Server, offsets []*moldauv1.GroupOffset) {
	if m.q.credit == 0 {
		return
	}
	view := s.meta.View()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range offsets {
		if topic := view.Topics[o.GetTopic()]; topic != nil && o.GetError() == nil {
			m.committedHere[storageclient.PartitionID{Topic: topic.ID, Index: o.GetPartition()}] = o.GetOffset()
		}
	}
	m.tell()
}

func (m *consumer) takeStored() map[storageclient.PartitionID]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.committedHere) == 0 {
		return nil
	}
	taken := m.committedHere
	m.committedHere = map[storageclient.PartitionID]int64{}
	return taken
}
