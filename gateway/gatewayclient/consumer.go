package gatewayclient

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

const (
	// defaultCommitInterval is how often a Consumer commits by itself.
	defaultCommitInterval = time.Second
	// rejoinPatience bounds how long a Consumer looks for a gateway in vain.
	rejoinPatience = time.Minute
	// goodbyePatience bounds the last commit of a loop.
	goodbyePatience = 5 * time.Second
)

// ConsumerOptions shape a Consumer.
type ConsumerOptions struct {
	// CommitInterval between commits of what was dealt with; 0 is 1 s. Negative:
	// nothing is committed but by Commit.
	CommitInterval time.Duration
}

// Consumer is a member of a group, over as many streams as it takes. Messages
// is for one goroutine; Commit and Leave may be called beside it.
type Consumer struct {
	c   *Client
	o   ConsumerOptions
	req *moldauv1.ConsumeRequest // with the newest token

	mu        sync.Mutex
	member    *moldauv1.GroupMember    // nil while it is none
	dealt     map[messagePlace]int64   // next offsets that are not committed yet
	committed time.Time                // when it last did
	heard     time.Time                // when a stream last gave a frame
	pause     time.Duration            // before the next try
	holds     []*moldauv1.ConsumePlace // as told last
	commits   sync.Mutex               // one commit after the other
	service   moldauv1.ConsumeServiceClient
}

type messagePlace struct {
	topic     string
	partition int32
}

// NewConsumer returns a member-to-be of req's group. It joins with the first
// step of Messages. as_batches is not for a Consumer.
func (c *Client) NewConsumer(req *moldauv1.ConsumeRequest, o ConsumerOptions) *Consumer {
	if o.CommitInterval == 0 {
		o.CommitInterval = defaultCommitInterval
	}
	return &Consumer{
		c: c, o: o, req: proto.CloneOf(req), dealt: map[messagePlace]int64{}, pause: firstPause, service: moldauv1.NewConsumeServiceClient(c.conn),
	}
}

// Messages iterates over the member's share of the records, in order by
// partition. A message counts as dealt with once the loop asks for the next one:
// it is committed soon after, before its partition goes to another member, and
// when the loop ends. The one that the loop is left with does not count, unless
// Done says so. A message comes again only if it was not committed. The
// loop goes on by itself where a gateway ends the stream or is lost, and ends
// with ctx, when the member leaves or is removed by hand, or with the first
// error that a new try cannot mend; the error is the last pair. A loop that was
// left may be entered anew.
func (m *Consumer) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if m.req.GetAsBatches() {
			yield(Message{}, errcode.New(errcode.InvalidArgument, "a Consumer gives records; ask the stub for batches").WithField("as_batches"))
			return
		}
		m.heard = m.c.clk.Now()
		for {
			done, err := m.stream(ctx, yield)
			switch {
			case done:
				m.farewell(ctx)
				return
			case err == nil: // reconnect
				continue
			case !errcode.Of(err).Retryable() || ctx.Err() != nil || m.c.clk.Since(m.heard) > rejoinPatience || !m.rest(ctx):
				m.farewell(ctx)
				yield(Message{}, err)
				return
			}
			m.farewell(ctx) // what is not committed comes again
		}
	}
}

// farewell commits what was dealt with, though ctx may be done.
func (m *Consumer) farewell(ctx context.Context) {
	if m.o.CommitInterval < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyePatience)
	defer cancel()
	if err := m.Commit(ctx); err != nil {
		m.c.log.Warn("what was dealt with last is not committed and comes again", "group", m.req.GetGroupId(), "error", err)
	}
}

func (m *Consumer) rest(ctx context.Context) bool {
	timer := m.c.clk.NewTimer(m.pause)
	defer timer.Stop()
	m.pause = min(2*m.pause, lastPause)
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// stream reads one stream. It is done when the member has left or the loop was
// left; without an error the next stream goes on.
func (m *Consumer) stream(ctx context.Context, yield func(Message, error) bool) (done bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := m.c.clk.AfterFunc(silence, func() { cancel(errcode.New(errcode.NodeUnavailable, "the stream fell silent")) })
	defer watch.Stop()
	stream, err := m.service.Consume(ctx, m.req)
	if err != nil {
		return false, err
	}
	for {
		frame, err := stream.Recv()
		watch.Stop() // while the loop's body works, the silence is ours
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			if silent, ok := errors.AsType[*errcode.Error](context.Cause(ctx)); ok {
				err = silent
			}
			return false, err
		}
		m.heard, m.pause = m.c.clk.Now(), firstPause
		if again := frame.GetReconnect(); again != nil {
			m.again(again)
			return false, nil
		}
		if !m.take(frame, yield) {
			return true, nil
		}
		if err := m.commitWhenDue(ctx, frame); err != nil {
			return false, err
		}
		watch.Reset(silence)
	}
}

// again takes in how to go on. Without a token the membership is lost, and what
// is not committed comes again.
func (m *Consumer) again(r *moldauv1.ConsumeReconnect) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.req.ResumeToken = r.GetResumeToken(); m.req.ResumeToken == "" {
		m.member = nil
		clear(m.dealt)
	}
}

// take takes in a frame and reports false where the loop was left.
func (m *Consumer) take(frame *moldauv1.ConsumeResponse, yield func(Message, error) bool) bool {
	switch f := frame.GetFrame().(type) {
	case *moldauv1.ConsumeResponse_Joined:
		m.stand(f.Joined.GetMember(), f.Joined.GetPlaces(), f.Joined.GetResumeToken(), f.Joined.GetResumed())
	case *moldauv1.ConsumeResponse_Assignment:
		m.stand(f.Assignment.GetMember(), f.Assignment.GetPlaces(), f.Assignment.GetResumeToken(), true)
	case *moldauv1.ConsumeResponse_Heartbeat:
		m.stand(f.Heartbeat.GetMember(), f.Heartbeat.GetPlaces(), m.req.GetResumeToken(), true)
	case *moldauv1.ConsumeResponse_Records:
		at := messagePlace{f.Records.GetTopic(), f.Records.GetPartition()}
		for _, r := range f.Records.GetRecords() {
			if !yield(Message{Topic: at.topic, Partition: at.partition, Record: r}, nil) {
				return false
			}
			m.deal(at, r.GetOffset()+1)
		}
		m.deal(at, f.Records.GetNextOffset())
	}
	return true
}

// Done says that a message, and all before it in its partition, are dealt with,
// for a loop that is about to be left.
func (m *Consumer) Done(x Message) {
	m.deal(messagePlace{x.Topic, x.Partition}, x.GetOffset()+1)
}

func (m *Consumer) deal(at messagePlace, next int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dealt[at] = next
}

// stand takes in who the member is and what it holds. One that does not go on as
// it was is delivered anew what it has not committed.
func (m *Consumer) stand(member *moldauv1.GroupMember, places []*moldauv1.ConsumePlace, token string, goesOn bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.member, m.holds, m.req.ResumeToken = member, places, token
	if !goesOn {
		clear(m.dealt)
	}
}

// commitWhenDue commits at each frame that is not of records, among them those
// that take partitions away, and once in an interval.
func (m *Consumer) commitWhenDue(ctx context.Context, frame *moldauv1.ConsumeResponse) error {
	if m.o.CommitInterval < 0 {
		return nil
	}
	m.mu.Lock()
	due := m.c.clk.Since(m.committed) >= m.o.CommitInterval
	m.mu.Unlock()
	if frame.GetRecords() != nil && !due {
		return nil
	}
	err := m.Commit(ctx)
	if err != nil && errcode.Of(err).Retryable() {
		return nil // with the next frame
	}
	return err
}

// Commit commits all that was dealt with. What the member holds no longer is
// not its to commit: it comes to another again. An error says that the rest is
// not committed, and Commit may be called again.
func (m *Consumer) Commit(ctx context.Context) error {
	m.commits.Lock()
	defer m.commits.Unlock()
	m.mu.Lock()
	req := &moldauv1.CommitRequest{GroupId: m.req.GetGroupId(), MemberId: m.member.GetMemberId(), MemberEpoch: m.member.GetGeneration()}
	for at, next := range m.dealt {
		req.Offsets = append(req.Offsets, &moldauv1.GroupOffset{Topic: at.topic, Partition: at.partition, Offset: next})
	}
	m.mu.Unlock()
	if len(req.GetOffsets()) == 0 {
		return nil
	}
	resp, err := m.service.Commit(ctx, req)
	gone := errcode.Is(err, errcode.UnknownMember) || errcode.Is(err, errcode.UnknownGroup) // the stream will say so
	if err != nil && !gone {
		return errcode.Of(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.committed = m.c.clk.Now()
	var failed error
	for i, o := range req.GetOffsets() {
		if !gone && i < len(resp.GetOffsets()) {
			if e := resp.GetOffsets()[i].GetError(); e != nil && e.GetReason() != string(errcode.StaleMemberEpoch) {
				reason, _ := errcode.ParseReason(e.GetReason())
				failed = errcode.New(reason, "%s[%d] was not committed: %s", o.GetTopic(), o.GetPartition(), e.GetMessage())
				continue
			}
		}
		if at := (messagePlace{o.GetTopic(), o.GetPartition()}); m.dealt[at] == o.GetOffset() {
			delete(m.dealt, at)
		}
	}
	return failed
}

// Holds tells what the member held and where it stood when its stream last said
// so, at least every 10 s; none while it is no member.
func (m *Consumer) Holds() []*moldauv1.ConsumePlace {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.member == nil {
		return nil
	}
	return m.holds
}

// Leave takes the member out of its group, which gives its share to the others
// at once and ends Messages. Commit before it. It may be called again.
func (m *Consumer) Leave(ctx context.Context) error {
	m.mu.Lock()
	id := m.member.GetMemberId()
	m.mu.Unlock()
	if id == "" {
		return nil
	}
	_, err := m.service.Leave(ctx, &moldauv1.LeaveRequest{GroupId: m.req.GetGroupId(), MemberId: id})
	return err
}
