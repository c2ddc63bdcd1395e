package native

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

const (
	defaultFrameBytes = 256 << 10
	maxFrameBytes     = 4 << 20
	// pollWait is how long a node holds a poll that has nothing to answer.
	pollWait = 5 * time.Second
	// pollBytes bounds one answer of one node, and so what a reader that does
	// not read holds.
	pollBytes = 4 << 20

	firstRest = 20 * time.Millisecond
	lastRest  = time.Second
)

// tail follows partitions for one stream: it polls the nodes that lead them,
// one long poll a node, and sends what comes. A node is polled again only when
// what it answered was sent, so a reader that does not read stops the fetching.
// One goroutine owns it all; polls run beside it and hand their answers over
// polled.
//
// Invariant: a partition is in at most one poll, and its next offset only
// moves when the records before it were sent.
type tail struct {
	s         *Server
	send      SendRead // blocks while the reader's window is full
	committed bool
	asBatches bool
	untilEnd  bool
	frame     int // bytes of records in a frame, about

	parts  []*readPart
	lend   LendBatches // nil: send copies them
	taken  *poll       // the poll at hand
	chunk  int         // bytes of records to decode first, of the poll at hand
	left   int64       // records to send
	polled chan *poll
	polls  map[int32]*poll // by node
	retry  clock.Timer
	pause  time.Duration
	ended  int // partitions that reached their end

	// may, where set, tells whether records of a partition may be sent now. Where
	// not, they are polled again.
	may func(storageclient.PartitionID) bool
	// failed, where set, hears why a partition cannot be read; an error of its own
	// ends the stream. Else the stream ends with what keeps the partition from
	// being read.
	failed func(*readPart, error) error
}

// readPart is one partition of a stream.
type readPart struct {
	id            storageclient.PartitionID
	topic         string
	position      *moldauv1.Position
	next          int64
	highWatermark int64 // of a committed read, the last stable offset
	end           int64 // where an until_end stream ends
	given         int64 // the offset after the last record that was sent; -1 where none was
	caughtUp      bool
	ended         bool
	gone          bool  // from the stream; what a poll still brings is dropped
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

	users atomic.Int32 // of resp and its room
}

func (s *Server) newTail(send SendRead, frameBytes int32) (*tail, error) {
	if frameBytes < 0 || frameBytes > maxFrameBytes {
		return nil, invalid("max_bytes", "%d is not within 0 to %d", frameBytes, maxFrameBytes)
	}
	t := &tail{
		s: s, send: send, frame: int(frameBytes), left: noLimit, polls: map[int32]*poll{}, polled: make(chan *poll),
		retry: s.clk.NewTimer(lastRest), pause: firstRest,
	}
	if t.frame == 0 {
		t.frame = defaultFrameBytes
	}
	t.retry.Stop()
	return t, nil
}

// Why streams end.
const (
	draining = "the gateway is draining"
	aged     = "the connection is old: the next stream comes by another"
)

// aged returns a timer for when the streams of ctx's connection should end; one
// that never fires where there is no such time.
func (s *Server) aged(ctx context.Context) clock.Timer {
	at, ages := transport.StreamsEnd(ctx)
	timer := s.clk.NewTimer(max(at.Sub(s.clk.Now()), 0))
	if !ages {
		timer.Stop()
	}
	return timer
}

// close ends all polls. The context that they were launched with has ended.
func (t *tail) close() {
	t.retry.Stop()
	for range len(t.polls) {
		(<-t.polled).release()
	}
}

func (t *tail) add(topic *metadataclient.Topic, index int32, at *moldauv1.Position) *readPart {
	p := &readPart{id: storageclient.PartitionID{Topic: topic.ID, Index: index}, topic: topic.Name, position: at, end: noLimit, given: -1}
	t.parts = append(t.parts, p)
	return p
}

// drop takes a partition out of the stream.
func (t *tail) drop(p *readPart) {
	p.gone = true
	t.parts = slices.DeleteFunc(t.parts, func(q *readPart) bool { return q == p })
}

// wake lets resting partitions be routed again.
func (t *tail) wake() {
	for _, p := range t.parts {
		p.resting = false
	}
}

// cutMoved ends the polls of nodes that no longer lead what they are asked
// for: a node that is cut off would not say so.
func (t *tail) cutMoved() {
	v := t.s.meta.View()
	for _, running := range t.polls {
		for _, p := range running.parts {
			topic := v.TopicsByID[p.id.Topic]
			if topic == nil || topic.Partitions[p.id.Index].Leader != running.node || topic.Partitions[p.id.Index].LeaderEpoch != p.epoch {
				running.cut = true
				running.cancel()
				break
			}
		}
	}
}

// rest takes a partition out of the polls until the view moves or a pause is
// over.
func (t *tail) rest(p *readPart) {
	p.resting = true
	t.retry.Reset(t.pause)
	t.pause = min(2*t.pause, lastRest)
}

// launch polls every node that leads partitions which are in no poll. A node
// that already holds a poll has it cut short, so that they join the next one.
func (t *tail) launch(ctx context.Context) error {
	byNode := map[int32][]*readPart{}
	leaders := map[int32]routing.Leader{}
	for _, p := range t.parts {
		if p.polled || p.ended || p.resting {
			continue
		}
		l, err := t.s.router.Leader(p.id)
		switch {
		case err == nil:
			byNode[l.NodeID] = append(byNode[l.NodeID], p)
			leaders[l.NodeID] = l
		case routing.Unreachable(err):
			t.rest(p)
		default:
			if err := t.fail(p, err); err != nil {
				return err
			}
		}
	}
	for node, parts := range byNode {
		if running := t.polls[node]; running != nil {
			running.cut = true
			running.cancel()
			continue
		}
		t.poll(ctx, leaders[node], parts)
	}
	return nil
}

func (t *tail) poll(ctx context.Context, l routing.Leader, parts []*readPart) {
	ctx, cancel := context.WithCancel(untraced(ctx))
	p := &poll{node: l.NodeID, parts: parts, cancel: cancel}
	p.users.Store(1)
	p.granted, p.free = t.s.reserve(t.wanted(parts), streamTimes)
	req := &storageclient.FetchRequest{MinBytes: 1, MaxBytes: p.granted, MaxWaitMs: int32(pollWait.Milliseconds()), ReadCommitted: t.committed}
	for _, part := range parts {
		part.polled, part.epoch = true, t.epoch(part)
		req.Partitions = append(req.Partitions, storageclient.FetchPartition{
			PartitionID: part.id, LeaderEpoch: part.epoch, Offset: part.next, MaxBytes: min(t.frame, p.granted),
		})
	}
	t.polls[l.NodeID] = p
	go func() {
		p.resp, p.err = l.Fetch(ctx, req)
		t.polled <- p // run takes it, also when it ends
	}()
}

// wanted is how much to ask of one node: a frame for each partition that is
// behind, and little of those that are not, as they may wait for long.
func (t *tail) wanted(parts []*readPart) int {
	frames := 0
	for _, p := range parts {
		if p.next < p.highWatermark {
			frames++
		}
	}
	return min(pollBytes, max(t.frame*frames, min(t.frame, leastHeld)))
}

func (t *tail) epoch(p *readPart) int32 {
	if topic := t.s.meta.View().TopicsByID[p.id.Topic]; topic != nil && int(p.id.Index) < len(topic.Partitions) {
		return topic.Partitions[p.id.Index].LeaderEpoch
	}
	return -1
}

func (p *poll) release() {
	p.cancel()
	p.done()
}

// done ends one use of the answer.
func (p *poll) done() {
	if p.users.Add(-1) > 0 {
		return
	}
	p.free()
	if p.resp != nil {
		p.resp.Release()
	}
}

// take sends what a poll brought.
func (t *tail) take(p *poll) error {
	canceled := errcode.Is(p.err, errcode.Canceled)
	defer p.release()
	t.taken, t.chunk = p, p.granted
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
		case canceled && p.cut || part.gone:
		case err == nil:
			t.pause = firstRest
			err := t.deliver(part, &p.resp.Results[i])
			if errors.Is(err, errWithheld) {
				t.rest(part)
			} else if err != nil {
				return err
			}
		case canceled || routing.Misrouted(err) || routing.Unreachable(err):
			t.rest(part)
		default:
			if err := t.fail(part, errcode.Of(err).With("topic", part.topic).With("partition", part.id.Index)); err != nil {
				return err
			}
		}
		if t.left <= 0 {
			return nil
		}
	}
	t.rotate(p.parts)
	return nil
}

// fail takes in that a partition cannot be read, and returns what ends the
// stream.
func (t *tail) fail(p *readPart, err error) error {
	if t.failed != nil {
		return t.failed(p, err)
	}
	return err
}

// errWithheld says that records may not be sent now.
var errWithheld = errors.New("withheld")

// rotate puts the partitions of a poll last, the first of them very last, as
// a node fills its answer in the order asked (KIP-74).
func (t *tail) rotate(parts []*readPart) {
	if len(parts) < 2 {
		return
	}
	at := slices.Index(t.parts, parts[0])
	if at < 0 {
		return // it is gone
	}
	t.parts = append(slices.Delete(t.parts, at, at+1), parts[0])
}

// settle tells the reader when a partition has nothing more, for now or for
// good.
func (t *tail) settle(p *readPart) error {
	if p.next >= p.end && !p.ended {
		p.ended = true
		t.ended++
	}
	was := p.caughtUp
	p.caughtUp = p.next >= p.highWatermark
	if !p.caughtUp || was {
		return nil
	}
	return t.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_CaughtUp{
		CaughtUp: &moldauv1.ReadCaughtUp{Topic: p.topic, Partition: p.id.Index, NextOffset: p.next},
	}})
}
