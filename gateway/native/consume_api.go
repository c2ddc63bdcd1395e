package native

import (
	"context"
	"maps"
	"math"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/storage-node/storageclient"
)

// SendConsume sends one frame of a Consume stream. It blocks while the reader's
// window is full.
type SendConsume func(*moldauv1.ConsumeResponse) error

// Consume joins a group and streams the member's share of its topics' records.
func (s *Server) Consume(ctx context.Context, req *moldauv1.ConsumeRequest, send SendConsume) error {
	defer s.metrics.stream("consume")()
	q, err := s.checkConsume(req)
	if err != nil {
		return err
	}
	c := &consuming{m: s.newConsumer(q), q: q, send: send, byID: map[storageclient.PartitionID]*readPart{}, announced: map[storageclient.PartitionID]bool{}, credit: newCredit(q.credit)}
	if c.tail, err = s.newTail(c.translate, req.GetMaxBytes()); err != nil {
		return err
	}
	c.committed, c.asBatches = req.GetReadCommitted(), req.GetAsBatches()
	c.may, c.failed = c.m.may, c.misplaced
	resumed, unchanged, err := c.m.join(ctx, q.was)
	if err != nil {
		return err
	}
	if resumed {
		c.before = q.was.places
	}
	if unchanged {
		c.asTold = maps.Clone(q.was.places)
	}
	return s.consumers.live(ctx, c, func(ctx context.Context) error { return c.run(ctx, resumed) })
}

// consuming is one Consume stream: a tail of what the member holds. One
// goroutine owns it; the membership has its own.
//
//	join ─▶ run: follow the share ─▶ launch polls ─▶ wait ─┬─ an answer: send its records
//	                    ▲                                  ├─ the share has changed, or the credit
//	                    │                                  ├─ places were found: read from there
//	                    │                                  ├─ heartbeat
//	                    └──────────────────────────────────┴─ drained: reconnect, end
type consuming struct {
	*tail
	m    *consumer
	q    *consumeRequest
	send SendConsume

	byID      map[storageclient.PartitionID]*readPart // what is read
	announced map[storageclient.PartitionID]bool      // what revoke frames have named, and is not gone
	before    map[storageclient.PartitionID]int64     // places of the stream before; nil where there was none
	asTold    map[storageclient.PartitionID]int64     // those that are good still, until they are used
	placing   bool                                    // places are being looked for
	placed    chan []placed
	again     bool // look for places again, after a pause
	credit    *credit
	earning   bool // what others have committed is being looked up
	earned    chan map[storageclient.PartitionID]int64
	farewell  bool // the stream has ended as it should
}

// run streams until the membership or the reader goes, or the gateway drains.
// When it returns no poll is under way.
func (c *consuming) run(ctx context.Context, resumed bool) error {
	ctx, cancel := context.WithCancel(ctx)
	c.placed, c.earned = make(chan []placed, 1), make(chan map[storageclient.PartitionID]int64, 1)
	defer func() {
		cancel()
		c.close()
		if c.placing {
			<-c.placed
		}
		if c.earning {
			<-c.earned
		}
	}()
	if err := c.start(ctx, resumed); err != nil {
		return err
	}
	beat := c.s.clk.NewTimer(c.s.cfg.HeartbeatInterval)
	defer beat.Stop()
	old := c.s.aged(ctx)
	defer old.Stop()
	for {
		moved := c.s.meta.Changed() // before the view is looked at
		if ended, err := c.follow(ctx); ended || err != nil {
			return err
		}
		if c.earn(ctx); c.left > 0 && c.m.trusted() {
			if err := c.launch(ctx); err != nil {
				return err
			}
		}
		select {
		case p := <-c.polled:
			delete(c.polls, p.node)
			if c.left <= 0 {
				c.discard(p)
			} else if err := c.take(p); err != nil {
				return err
			}
		case committed := <-c.earned:
			c.earning = false
			for id, at := range committed {
				c.credit.commit(id, at)
			}
		case list := <-c.placed:
			if err := c.place(list); err != nil {
				return err
			}
		case <-c.m.changed:
		case <-moved:
			c.again = false
			c.wake()
			c.cutMoved()
		case <-c.retry.C():
			c.again = false
			c.wake()
		case <-beat.C():
			if err := c.heartbeat(); err != nil {
				return err
			}
			beat.Reset(c.s.cfg.HeartbeatInterval)
		case <-c.s.polling.Done():
			return c.reconnect(draining)
		case <-old.C():
			return c.reconnect(aged)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start finds the first places and sends the first frame.
func (c *consuming) start(ctx context.Context, resumed bool) error {
	now := c.m.look()
	found := c.findPlaces(ctx, c.wants(inOrder(now.held)))
	for i := range found {
		c.begin(&found[i])
	}
	joined := &moldauv1.ConsumeJoined{
		Member: c.m.name(), Places: c.places(), Resumed: resumed, ResumeToken: c.token(false), Origin: c.s.origin(),
	}
	if err := c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Joined{Joined: joined}}); err != nil {
		return err
	}
	for _, p := range c.parts {
		if err := c.settle(p); err != nil {
			return err
		}
	}
	return nil
}

// follow takes in what has become of the share, and reports whether the stream
// has ended.
func (c *consuming) follow(ctx context.Context) (ended bool, err error) {
	now := c.m.look()
	if now.end != nil {
		return true, c.part(now.end)
	}
	stops := map[storageclient.PartitionID]int64{}
	for id, p := range c.byID {
		if !now.held[id] {
			c.drop(p)
			delete(c.byID, id)
			c.credit.forget(id)
			stops[id] = p.given
		}
	}
	if err := c.revoke(now, stops); err != nil {
		return false, err
	}
	var missing []storageclient.PartitionID
	for _, id := range inOrder(now.held) {
		if c.byID[id] == nil {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 && !c.placing && !c.again {
		c.placing = true
		wants := c.wants(missing)
		go func() { c.placed <- c.findPlaces(ctx, wants) }()
	}
	return false, nil
}

// revoke tells what the member loses, and once that is gone, what it has. stops
// are the partitions that were read until now.
func (c *consuming) revoke(now now, stops map[storageclient.PartitionID]int64) error {
	fresh, gone := map[storageclient.PartitionID]bool{}, false
	for id := range now.revoking {
		if !c.announced[id] {
			fresh[id], c.announced[id] = true, true
		}
	}
	for id := range c.announced {
		if !now.revoking[id] {
			delete(c.announced, id)
			gone = true
		}
	}
	if len(fresh) > 0 {
		left := max(now.deadline.Sub(c.s.clk.Now()), 0)
		frame := &moldauv1.ConsumeRevoke{Partitions: c.named(inOrder(fresh)), Deadline: timestamppb.New(now.deadline), Timeout: durationpb.New(left)}
		if err := c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Revoke{Revoke: frame}}); err != nil {
			return err
		}
	}
	for id := range fresh {
		stop, read := stops[id]
		if place, known := c.before[id]; !read {
			if stop = nothingSent; known {
				stop = place
			}
			if known && place == noPlace {
				stop = math.MaxInt64 // the stream before knows how far it came
			}
		}
		c.m.stopped(id, stop)
	}
	if gone || len(stops) > len(fresh) {
		return c.assignment()
	}
	return nil
}

func (c *consuming) assignment() error {
	return c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Assignment{Assignment: &moldauv1.ConsumeAssignment{
		Member: c.m.name(), Places: c.places(), ResumeToken: c.token(false),
	}}})
}

func (c *consuming) heartbeat() error {
	return c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Heartbeat{Heartbeat: &moldauv1.ConsumeHeartbeat{
		Member: c.m.name(), Places: c.places(),
	}}})
}

// reconnect ends the stream with a token that goes on where it ends.
func (c *consuming) reconnect(reason string) error { return c.goodbye(c.token(true), reason) }

func (c *consuming) goodbye(token, reason string) error {
	err := c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Reconnect{Reconnect: &moldauv1.ConsumeReconnect{ResumeToken: token, Reason: reason}}})
	c.farewell = err == nil
	return err
}

// part ends the stream as its membership has ended.
func (c *consuming) part(e *ending) error {
	c.farewell = true
	switch e.kind {
	case endLost:
		return c.goodbye("", e.reason)
	case endSought:
		return c.goodbye(c.s.signMembership(membership{group: c.q.group, member: c.m.id, epoch: c.m.look().epoch}), e.reason)
	case endLeft:
		return nil
	default:
		return e.err
	}
}

// put sends a frame, and lets the member know while the reader does not take it.
func (c *consuming) put(f *moldauv1.ConsumeResponse) error {
	defer c.m.sends()()
	return c.send(f)
}

// translate makes frames of Consume of those of a tail.
func (c *consuming) translate(f *moldauv1.ReadResponse) error {
	switch f := f.GetFrame().(type) {
	case *moldauv1.ReadResponse_Records:
		first := f.Records.GetNextOffset() - 1
		if len(f.Records.GetRecords()) > 0 {
			first = f.Records.GetRecords()[0].GetOffset()
		}
		c.spend(f.Records, first)
		return c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Records{Records: f.Records}})
	case *moldauv1.ReadResponse_CaughtUp:
		return c.put(&moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_CaughtUp{CaughtUp: f.CaughtUp}})
	default:
		panic("a tail sends records and caught_up alone")
	}
}
