package native

import (
	"context"
	"slices"

	"google.golang.org/grpc/mem"

	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

const maxReadTopics = 1000

// SendRead sends one frame of a Read stream. It blocks while the reader's
// window is full, which is what bounds a slow reader: nothing is fetched for
// it meanwhile.
type SendRead func(*moldauv1.ReadResponse) error

// LendBatches sends a frame of a Read stream whose record batches lie in memory
// that is lent to it; it gives up their references.
type LendBatches func(f *moldauv1.ReadRecords, batches mem.BufferSlice) error

// Read streams records of topics from given places on. lend, where the door can,
// sends batches without a copy; nil: it cannot.
func (s *Server) Read(ctx context.Context, req *moldauv1.ReadRequest, send SendRead, lend LendBatches) error {
	defer s.metrics.stream("read")()
	r, err := s.newReading(req, send)
	if err != nil {
		return err
	}
	r.lend = lend
	if err := r.start(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

// reading is one Read stream: a tail, and the places that were asked for.
//
//	start ─▶ run: launch polls ─▶ wait ─┬─ an answer: send its records
//	               ▲                    ├─ the view moved: route anew
//	               │                    ├─ heartbeat
//	               └────────────────────┴─ drained: reconnect, end
type reading struct {
	*tail
	req   *moldauv1.ReadRequest
	whole []*wholeTopic // topics that are read with all their partitions
}

// wholeTopic grows with its topic.
type wholeTopic struct {
	topic *metadataclient.Topic
	known int
}

func (s *Server) newReading(req *moldauv1.ReadRequest, send SendRead) (*reading, error) {
	switch {
	case len(req.GetTopics()) == 0 || len(req.GetTopics()) > maxReadTopics:
		return nil, invalid("topics", "%d topics, 1 to %d are allowed", len(req.GetTopics()), maxReadTopics)
	case req.GetMaxRecords() < 0:
		return nil, invalid("max_records", "%d is negative", req.GetMaxRecords())
	}
	t, err := s.newTail(send, req.GetMaxBytes())
	if err != nil {
		return nil, err
	}
	t.committed, t.asBatches, t.untilEnd = req.GetReadCommitted(), req.GetAsBatches(), req.GetUntilEnd()
	if n := req.GetMaxRecords(); n > 0 {
		t.left = n
	}
	r := &reading{tail: t, req: req}
	seen := map[string]bool{}
	for _, rt := range req.GetTopics() {
		if seen[rt.GetTopic()] {
			return nil, invalid("topics", "%q is named twice", clip(rt.GetTopic()))
		}
		seen[rt.GetTopic()] = true
		if err := r.addTopic(rt); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *reading) addTopic(rt *moldauv1.ReadTopic) error {
	t, err := r.s.topic(rt.GetTopic(), "topics.topic")
	if err != nil {
		return err
	}
	if err := checkPosition(rt.GetPosition(), "topics.position"); err != nil {
		return err
	}
	parts := rt.GetPartitions()
	if n := len(r.parts) + max(len(parts), 1); n > r.s.cfg.MaxStreamPartitions {
		return r.tooMany(n)
	}
	if err := distinct(t, len(parts), func(i int) int32 { return parts[i].GetPartition() }, "topics.partitions"); err != nil {
		return err
	}
	for _, p := range parts {
		if err := checkPosition(p.GetPosition(), "topics.partitions.position"); err != nil {
			return err
		}
		at := p.GetPosition()
		if at.GetAt() == nil {
			at = rt.GetPosition()
		}
		r.add(t, p.GetPartition(), at)
	}
	if len(parts) > 0 && !rt.GetWhole() {
		return nil
	}
	if n := len(r.parts) + len(t.Partitions) - len(parts); n > r.s.cfg.MaxStreamPartitions {
		return r.tooMany(n)
	}
	named := map[int32]bool{}
	for _, p := range parts {
		named[p.GetPartition()] = true
	}
	for i := range int32(len(t.Partitions)) {
		if !named[i] {
			r.add(t, i, rt.GetPosition())
		}
	}
	r.whole = append(r.whole, &wholeTopic{topic: t, known: len(t.Partitions)})
	return nil
}

func (r *reading) tooMany(n int) error {
	return invalid("topics", "%d partitions, a stream reads at most %d", n, r.s.cfg.MaxStreamPartitions)
}

// start finds the places and sends the first frame.
func (r *reading) start(ctx context.Context) error {
	ids := make([]storageclient.PartitionID, len(r.parts))
	positions := make([]*moldauv1.Position, len(r.parts))
	for i, p := range r.parts {
		ids[i], positions[i] = p.id, p.position
	}
	bounded, cancel := context.WithTimeout(ctx, maxFetchWait)
	defer cancel()
	places, err := r.s.resolve(bounded, ids, positions, r.req.GetReadCommitted())
	if err != nil {
		return err
	}
	for i, p := range r.parts {
		p.next, p.highWatermark = places[i].offset, places[i].latest
		if r.req.GetUntilEnd() {
			p.end = places[i].latest
		}
	}
	started := &moldauv1.ReadStarted{Places: r.places(), Origin: r.s.origin()}
	return r.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_Started{Started: started}})
}

func (r *reading) places() []*moldauv1.PartitionPlace {
	out := make([]*moldauv1.PartitionPlace, len(r.parts))
	for i, p := range r.parts {
		out[i] = &moldauv1.PartitionPlace{Topic: p.topic, Partition: p.id.Index, NextOffset: p.next, HighWatermark: p.highWatermark}
	}
	return out
}

// run streams until the reader has what it asked for, it goes, or the gateway
// drains. When it returns no poll is under way.
func (r *reading) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		r.close()
	}()
	for _, p := range r.parts {
		if err := r.settle(p); err != nil {
			return err
		}
	}
	beat := r.s.clk.NewTimer(r.s.cfg.HeartbeatInterval)
	defer beat.Stop()
	old := r.s.aged(ctx)
	defer old.Stop()
	for {
		changed := r.s.meta.Changed() // before the view is looked at
		if err := r.follow(); err != nil {
			return err
		}
		if r.left <= 0 || r.ended == len(r.parts) {
			return nil
		}
		if err := r.launch(ctx); err != nil {
			return err
		}
		select {
		case p := <-r.polled:
			delete(r.polls, p.node)
			if err := r.take(p); err != nil {
				return err
			}
		case <-changed:
			r.wake()
			r.cutMoved()
		case <-r.retry.C():
			r.wake()
		case <-beat.C():
			if err := r.heartbeat(); err != nil {
				return err
			}
			beat.Reset(r.s.cfg.HeartbeatInterval)
		case <-r.s.polling.Done():
			return r.reconnect(draining)
		case <-old.C():
			return r.reconnect(aged)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reading) heartbeat() error {
	return r.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_Heartbeat{Heartbeat: &moldauv1.ReadHeartbeat{Places: r.places()}}})
}

// follow takes in what metadata says: deleted topics end the stream, new
// partitions of topics that are read whole join it from their start.
func (r *reading) follow() error {
	v := r.s.meta.View()
	for _, w := range r.whole {
		t := v.TopicsByID[w.topic.ID]
		if t == nil || r.req.GetUntilEnd() || len(t.Partitions) <= w.known {
			continue
		}
		if n := len(r.parts) + len(t.Partitions) - w.known; n > r.s.cfg.MaxStreamPartitions {
			return r.tooMany(n)
		}
		for ; w.known < len(t.Partitions); w.known++ {
			r.add(t, int32(w.known), nil)
		}
	}
	for _, p := range r.parts {
		if v.TopicsByID[p.id.Topic] == nil {
			return errcode.New(errcode.UnknownTopic, "topic %q was deleted", p.topic)
		}
	}
	return nil
}

// reconnect ends the stream with the request that goes on where it ends.
func (r *reading) reconnect(reason string) error {
	resume := &moldauv1.ReadRequest{
		MaxBytes: r.req.GetMaxBytes(), UntilEnd: r.req.GetUntilEnd(), AsBatches: r.req.GetAsBatches(), ReadCommitted: r.req.GetReadCommitted(),
	}
	if r.left != noLimit {
		resume.MaxRecords = r.left
	}
	byName := map[string]*moldauv1.ReadTopic{}
	for _, p := range r.parts {
		if p.ended {
			continue
		}
		t := byName[p.topic]
		if t == nil {
			t = &moldauv1.ReadTopic{Topic: p.topic}
			byName[p.topic] = t
			resume.Topics = append(resume.Topics, t)
		}
		t.Whole = !r.req.GetUntilEnd() && slices.ContainsFunc(r.whole, func(w *wholeTopic) bool { return w.topic.ID == p.id.Topic })
		t.Partitions = append(t.Partitions, &moldauv1.ReadPartition{
			Partition: p.id.Index, Position: &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: p.next}},
		})
	}
	return r.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_Reconnect{Reconnect: &moldauv1.ReadReconnect{Resume: resume, Reason: reason}}})
}
