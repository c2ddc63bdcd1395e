package native

import (
	"context"
	"slices"
	"time"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

const (
	defaultFrameBytes = 256 << 10
	maxFrameBytes     = 4 << 20
	maxReadTopics     = 1000
	// pollWait is how long a node holds a poll that has nothing to answer.
	pollWait = 5 * time.Second
	// pollBytes bounds one answer of one node, and so what a reader that does
	// not read holds.
	pollBytes = 4 << 20
)

// SendRead sends one frame of a Read stream. It blocks while the reader's
// window is full, which is what bounds a slow reader: nothing is fetched for
// it meanwhile.
type SendRead func(*moldauv1.ReadResponse) error

// Read streams records of topics from given places on.
func (s *Server) Read(ctx context.Context, req *moldauv1.ReadRequest, send SendRead) error {
	defer s.metrics.stream("read")()
	r, err := s.newReading(req, send)
	if err != nil {
		return err
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

// reading is one Read stream. One goroutine owns it all; polls run beside it
// and hand their answers over polled.
//
//	start ─▶ run: launch polls ─▶ wait ─┬─ an answer: send its records
//	               ▲                    ├─ the view moved: route anew
//	               │                    ├─ heartbeat
//	               └────────────────────┴─ drained: reconnect, end
//
// Invariant: a partition is in at most one poll, and its next offset only
// moves when the records before it were sent.
type reading struct {
	s     *Server
	req   *moldauv1.ReadRequest
	send  SendRead
	parts []*readPart
	whole []*wholeTopic // topics that are read with all their partitions

	frameBytes int
	chunk      int   // bytes of records to decode first, of the poll at hand
	left       int64 // records to send
	polled     chan *poll
	polls      map[int32]*poll // by node
	retryAt    clock.Timer
	pause      time.Duration
	ended      int // partitions that reached their end
}

// wholeTopic grows with its topic.
type wholeTopic struct {
	topic *metadataclient.Topic
	known int
}

// readPart is one partition of a stream.
type readPart struct {
	id            storageclient.PartitionID
	topic         string
	position      *moldauv1.Position
	next          int64
	highWatermark int64 // of a committed read, the last stable offset
	end           int64 // where an until_end stream ends
	caughtUp      bool
	ended         bool
	polled        bool  // in a poll
	epoch         int32 // of the leader, as that poll said
	resting       bool  // misrouted; waits for the view, or for the pause
}

// poll is one long poll of one node.
type poll struct {
	node   int32
	parts  []*readPart
	cancel context.CancelFunc
	cut    bool // by launch, so that others can join

	granted int    // bytes that the answer may have
	free    func() // gives their room back
	resp    *storageclient.FetchResponse
	err     error
}

func (s *Server) newReading(req *moldauv1.ReadRequest, send SendRead) (*reading, error) {
	r := &reading{s: s, req: req, send: send, frameBytes: int(req.GetMaxBytes()), left: req.GetMaxRecords(), polls: map[int32]*poll{}, pause: firstRest}
	switch {
	case len(req.GetTopics()) == 0 || len(req.GetTopics()) > maxReadTopics:
		return nil, invalid("topics", "%d topics, 1 to %d are allowed", len(req.GetTopics()), maxReadTopics)
	case r.frameBytes < 0 || r.frameBytes > maxFrameBytes:
		return nil, invalid("max_bytes", "%d is not within 0 to %d", r.frameBytes, maxFrameBytes)
	case r.left < 0:
		return nil, invalid("max_records", "%d is negative", r.left)
	}
	if r.frameBytes == 0 {
		r.frameBytes = defaultFrameBytes
	}
	if r.left == 0 {
		r.left = noLimit
	}
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
		r.addPart(t, p.GetPartition(), at)
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
			r.addPart(t, i, rt.GetPosition())
		}
	}
	r.whole = append(r.whole, &wholeTopic{topic: t, known: len(t.Partitions)})
	return nil
}

func (r *reading) tooMany(n int) error {
	return invalid("topics", "%d partitions, a stream reads at most %d", n, r.s.cfg.MaxStreamPartitions)
}

func (r *reading) addPart(t *metadataclient.Topic, index int32, at *moldauv1.Position) *readPart {
	p := &readPart{id: storageclient.PartitionID{Topic: t.ID, Index: index}, topic: t.Name, position: at, end: noLimit}
	r.parts = append(r.parts, p)
	return p
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

const (
	firstRest = 20 * time.Millisecond
	lastRest  = time.Second
)

// run streams until the reader has what it asked for, it goes, or the gateway
// drains. When it returns no poll is under way.
func (r *reading) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	r.polled = make(chan *poll)
	defer func() {
		cancel()
		for range len(r.polls) {
			(<-r.polled).release()
		}
	}()
	for _, p := range r.parts {
		if err := r.settle(p); err != nil {
			return err
		}
	}
	beat := r.s.clk.NewTimer(r.s.cfg.HeartbeatInterval)
	defer beat.Stop()
	r.retryAt = r.s.clk.NewTimer(lastRest)
	r.retryAt.Stop()
	defer func() { r.retryAt.Stop() }()
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
		case <-r.retryAt.C():
			r.wake()
		case <-beat.C():
			if err := r.heartbeat(); err != nil {
				return err
			}
			beat.Reset(r.s.cfg.HeartbeatInterval)
		case <-r.s.polling.Done():
			return r.reconnect("the gateway is draining")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reading) heartbeat() error {
	return r.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_Heartbeat{Heartbeat: &moldauv1.ReadHeartbeat{Places: r.places()}}})
}

// wake lets resting partitions be routed again.
func (r *reading) wake() {
	for _, p := range r.parts {
		p.resting = false
	}
}

// cutMoved ends the polls of nodes that no longer lead what they are asked
// for: a node that is cut off would not say so.
func (r *reading) cutMoved() {
	v := r.s.meta.View()
	for _, running := range r.polls {
		for _, p := range running.parts {
			t := v.TopicsByID[p.id.Topic]
			if t == nil || t.Partitions[p.id.Index].Leader != running.node || t.Partitions[p.id.Index].LeaderEpoch != p.epoch {
				running.cut = true
				running.cancel()
				break
			}
		}
	}
}

// rest takes a partition out of the polls until the view moves or a pause is
// over.
func (r *reading) rest(p *readPart) {
	p.resting = true
	r.retryAt.Reset(r.pause)
	r.pause = min(2*r.pause, lastRest)
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
			r.addPart(t, int32(w.known), nil)
		}
	}
	for _, p := range r.parts {
		if v.TopicsByID[p.id.Topic] == nil {
			return errcode.New(errcode.UnknownTopic, "topic %q was deleted", p.topic)
		}
	}
	return nil
}

// launch polls every node that leads partitions which are in no poll. A node
// that already holds a poll has it cut short, so that they join the next one.
func (r *reading) launch(ctx context.Context) error {
	byNode := map[int32][]*readPart{}
	leaders := map[int32]routing.Leader{}
	for _, p := range r.parts {
		if p.polled || p.ended || p.resting {
			continue
		}
		l, err := r.s.router.Leader(p.id)
		switch {
		case err == nil:
			byNode[l.NodeID] = append(byNode[l.NodeID], p)
			leaders[l.NodeID] = l
		case routing.Unreachable(err):
			r.rest(p)
		default:
			return err
		}
	}
	for node, parts := range byNode {
		if running := r.polls[node]; running != nil {
			running.cut = true
			running.cancel()
			continue
		}
		r.poll(ctx, leaders[node], parts)
	}
	return nil
}

func (r *reading) poll(ctx context.Context, l routing.Leader, parts []*readPart) {
	ctx, cancel := context.WithCancel(untraced(ctx))
	p := &poll{node: l.NodeID, parts: parts, cancel: cancel}
	p.granted, p.free = r.s.reserve(r.wanted(parts), streamTimes)
	req := &storageclient.FetchRequest{MinBytes: 1, MaxBytes: p.granted, MaxWaitMs: int32(pollWait.Milliseconds()), ReadCommitted: r.req.GetReadCommitted()}
	for _, part := range parts {
		part.polled, part.epoch = true, r.epoch(part)
		req.Partitions = append(req.Partitions, storageclient.FetchPartition{
			PartitionID: part.id, LeaderEpoch: part.epoch, Offset: part.next, MaxBytes: min(r.frameBytes, p.granted),
		})
	}
	r.polls[l.NodeID] = p
	go func() {
		p.resp, p.err = l.Fetch(ctx, req)
		r.polled <- p // run takes it, also when it ends
	}()
}

// wanted is how much to ask of one node: a frame for each partition that is
// behind, and little of those that are not, as they may wait for long.
func (r *reading) wanted(parts []*readPart) int {
	frames := 0
	for _, p := range parts {
		if p.next < p.highWatermark {
			frames++
		}
	}
	return min(pollBytes, max(r.frameBytes*frames, min(r.frameBytes, leastHeld)))
}

func (r *reading) epoch(p *readPart) int32 {
	if t := r.s.meta.View().TopicsByID[p.id.Topic]; t != nil && int(p.id.Index) < len(t.Partitions) {
		return t.Partitions[p.id.Index].LeaderEpoch
	}
	return -1
}

func (p *poll) release() {
	p.cancel()
	p.free()
	if p.resp != nil {
		p.resp.Release()
	}
}

// take sends what a poll brought.
func (r *reading) take(p *poll) error {
	canceled := errcode.Is(p.err, errcode.Canceled)
	defer p.release()
	r.chunk = p.granted
	for _, part := range p.parts {
		part.polled = false
	}
	if p.err == nil && len(p.resp.Results) != len(p.parts) {
		return errcode.New(errcode.Internal, "a storage node answered for %d partitions, %d were asked", len(p.resp.Results), len(p.parts))
	}
	for i, part := range p.parts {
		err := p.err
		if err == nil {
			err = p.resp.Results[i].Err
		}
		switch {
		case canceled && p.cut:
		case err == nil:
			r.pause = firstRest
			if err := r.deliver(part, &p.resp.Results[i]); err != nil {
				return err
			}
		case canceled || routing.Misrouted(err) || routing.Unreachable(err):
			r.rest(part)
		default:
			return errcode.Of(err).With("topic", part.topic).With("partition", part.id.Index)
		}
		if r.left <= 0 {
			return nil
		}
	}
	r.rotate(p.parts)
	return nil
}

// rotate puts the partitions of a poll last, the first of them very last, as
// a node fills its answer in the order asked (KIP-74).
func (r *reading) rotate(parts []*readPart) {
	if len(parts) < 2 {
		return
	}
	at := slices.Index(r.parts, parts[0])
	r.parts = append(slices.Delete(r.parts, at, at+1), parts[0])
}

// settle tells the reader when a partition has nothing more, for now or for
// good.
func (r *reading) settle(p *readPart) error {
	if p.next >= p.end && !p.ended {
		p.ended = true
		r.ended++
	}
	was := p.caughtUp
	p.caughtUp = p.next >= p.highWatermark
	if !p.caughtUp || was {
		return nil
	}
	return r.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_CaughtUp{
		CaughtUp: &moldauv1.ReadCaughtUp{Topic: p.topic, Partition: p.id.Index, NextOffset: p.next},
	}})
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
