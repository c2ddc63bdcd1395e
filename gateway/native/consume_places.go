package native

import (
	"context"
	"time"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// placePatience bounds one search for places: what is not found is looked for
// again.
const placePatience = 5 * time.Second

// want is a partition whose place is looked for.
type want struct {
	id   storageclient.PartitionID
	told int64 // where the stream before came to; noPlace: not known
}

// placed is where a partition is read from.
type placed struct {
	id            storageclient.PartitionID
	topic         *metadataclient.Topic
	next          int64
	highWatermark int64
	given         int64 // as of readPart
	err           error // why there is no place yet
}

func (c *consuming) wants(ids []storageclient.PartitionID) []want {
	list := make([]want, len(ids))
	for i, id := range ids {
		list[i] = want{id: id, told: noPlace}
		if told, known := c.asTold[id]; known {
			list[i].told = told
		}
	}
	return list
}

// findPlaces looks up where to read partitions from: where the stream before
// came to, else the committed offset, else where the request says to begin. It
// touches nothing of the stream.
func (c *consuming) findPlaces(ctx context.Context, wants []want) []placed {
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	found := make([]placed, len(wants))
	view := c.s.meta.View()
	ask := &coordinatorv1.FetchGroupOffsets{GroupId: c.q.group, MemberEpoch: noMember}
	ids := make([]storageclient.PartitionID, len(wants))
	for i, w := range wants {
		ids[i] = w.id
		found[i] = placed{id: w.id, topic: view.TopicsByID[w.id.Topic], given: nothingSent}
		ask.Keys = append(ask.Keys, &coordinatorv1.OffsetKey{TopicId: w.id.Topic[:], Partition: w.id.Index})
	}
	if len(wants) == 0 {
		return nil
	}
	offsets, err := coordinated(ctx, c.s, func(ctx context.Context) (*coordinatorv1.GroupOffsets, error) {
		return c.s.fetchOffsets(ctx, ask, true)
	})
	if offsets == nil {
		return without(found, err)
	}
	committed := offsetsByID(offsets)
	earliest, errs := c.s.lookUpEach(ctx, ids, storageclient.Earliest, false)
	latest, errs2 := c.s.lookUpEach(ctx, ids, storageclient.Latest, false)
	var begin []int
	for i := range found {
		p := &found[i]
		at, known := committed[p.id]
		switch {
		case p.topic == nil:
			p.err = errcode.New(errcode.UnknownTopic, "no topic has id %s", p.id.Topic)
		case errs[i] != nil:
			p.err = errs[i]
		case errs2[i] != nil:
			p.err = errs2[i]
		case !known:
			p.err = errcode.New(errcode.UnstableOffset, "a transaction that holds the offset has not ended")
		default:
			p.next, p.highWatermark = at, latest[i].Offset
			if told := wants[i].told; told > at {
				p.next, p.given = told, told
			}
			if p.next < earliest[i].Offset || p.next > latest[i].Offset {
				begin = append(begin, i)
			}
		}
	}
	c.findBeginning(ctx, found, begin)
	return found
}

func without(found []placed, err error) []placed {
	for i := range found {
		found[i].err = err
	}
	return found
}

// findBeginning finds the places of partitions without a committed offset that
// is there.
func (c *consuming) findBeginning(ctx context.Context, found []placed, indexes []int) {
	if len(indexes) == 0 {
		return
	}
	ids := make([]storageclient.PartitionID, len(indexes))
	positions := make([]*moldauv1.Position, len(indexes))
	for j, i := range indexes {
		ids[j], positions[j] = found[i].id, c.q.begin
	}
	places, err := c.s.resolve(ctx, ids, positions, c.committed)
	for j, i := range indexes {
		p := &found[i]
		if p.err = err; err == nil {
			p.next, p.highWatermark, p.given = places[j].offset, places[j].latest, nothingSent
		}
	}
}

// offsetsByID are the committed offsets, -1 where none is; those that a
// transaction holds are left out.
func offsetsByID(found *coordinatorv1.GroupOffsets) map[storageclient.PartitionID]int64 {
	byID := map[storageclient.PartitionID]int64{}
	for i, o := range found.GetOffsets() {
		topic, err := topicid.FromBytes(o.GetTopicId())
		if err == nil && (i >= len(found.GetErrors()) || found.Errors[i].GetReason() == "") {
			byID[storageclient.PartitionID{Topic: topic, Index: o.GetPartition()}] = o.GetOffset()
		}
	}
	return byID
}

// place takes in what was found, and tells where the stream stands.
func (c *consuming) place(found []placed) error {
	c.placing = false
	now, news := c.m.look(), []*readPart{}
	for i := range found {
		p := &found[i]
		if p.err != nil {
			c.later()
		} else if now.held[p.id] && c.byID[p.id] == nil {
			news = append(news, c.begin(p))
		}
	}
	if len(news) == 0 {
		return nil
	}
	if err := c.assignment(); err != nil {
		return err
	}
	for _, p := range news {
		if err := c.settle(p); err != nil {
			return err
		}
	}
	return nil
}

// later looks for places again after a pause.
func (c *consuming) later() {
	c.again = true
	c.retry.Reset(c.pause)
	c.pause = min(2*c.pause, lastRest)
}

// begin reads a partition from its place, or returns nil where it has none yet.
func (c *consuming) begin(p *placed) *readPart {
	if p.err != nil {
		return nil
	}
	part := c.add(p.topic, p.id.Index, nil)
	part.next, part.highWatermark, part.given = p.next, p.highWatermark, p.given
	c.byID[p.id] = part
	delete(c.asTold, p.id)
	return part
}

// misplaced takes in that a partition cannot be read from where it stands. One
// that has lost its place gets another; one that is no more will be taken from
// the member.
func (c *consuming) misplaced(p *readPart, err error) error {
	switch errcode.ReasonOf(err) {
	case errcode.OffsetOutOfRange:
		c.drop(p)
		delete(c.byID, p.id)
		c.credit.forget(p.id)
		c.later()
		return nil
	case errcode.UnknownTopic, errcode.UnknownPartition, errcode.UnknownTopicID:
		c.rest(p)
		return nil
	default:
		return err
	}
}

func (c *consuming) places() []*moldauv1.ConsumePlace {
	out := make([]*moldauv1.ConsumePlace, len(c.parts))
	for i, p := range c.parts {
		out[i] = &moldauv1.ConsumePlace{
			Topic: p.topic, Partition: p.id.Index, NextOffset: p.next, HighWatermark: p.highWatermark, Lag: max(p.highWatermark-p.next, 0),
		}
	}
	return out
}

// token is of the membership, and of where the stream ends where it ends by
// itself.
func (c *consuming) token(ends bool) string {
	now := c.m.look()
	m := membership{group: c.q.group, member: c.m.id, epoch: now.epoch, places: map[storageclient.PartitionID]int64{}}
	for id := range now.held {
		m.places[id] = noPlace
		if p := c.byID[id]; ends && p != nil {
			m.places[id] = p.next
		} else if told, known := c.asTold[id]; ends && known {
			m.places[id] = told
		}
	}
	for id := range now.revoking {
		m.places[id], m.deadline = noPlace, now.deadline
	}
	return c.s.signMembership(m)
}

// named lists partitions by topic; what is deleted is left out.
func (c *consuming) named(ids []storageclient.PartitionID) (list []*moldauv1.TopicPartitions) {
	view := c.s.meta.View()
	for _, id := range ids {
		topic := view.TopicsByID[id.Topic]
		if topic == nil {
			continue
		}
		if n := len(list); n == 0 || list[n-1].GetTopic() != topic.Name {
			list = append(list, &moldauv1.TopicPartitions{Topic: topic.Name})
		}
		last := list[len(list)-1]
		last.Partitions = append(last.Partitions, id.Index)
	}
	return list
}
