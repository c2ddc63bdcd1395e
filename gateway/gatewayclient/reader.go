package gatewayclient

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

// silence is after how long a stream without a frame counts as broken: two
// heartbeats are missing.
const silence = 25 * time.Second

const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Message is a record with the place that it was read from.
type Message struct {
	Topic     string
	Partition int32
	*moldauv1.Record
}

// Read iterates over the records that req asks for, in order by partition, and
// goes on by itself where a gateway ends the stream or is lost. It ends where
// req says, with ctx, or with the first error that a new try cannot mend; the
// error is the last pair. as_batches is not for Read.
func (c *Client) Read(ctx context.Context, req *moldauv1.ReadRequest) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if req.GetAsBatches() {
			yield(Message{}, errcode.New(errcode.InvalidArgument, "Read gives records; ask Offsets().Read for batches").WithField("as_batches"))
			return
		}
		r := &reader{c: c, next: req, pause: firstPause, yield: yield}
		for {
			done, err := r.stream(ctx)
			switch {
			case done:
				return
			case err == nil:
				continue // reconnect
			case !errcode.Of(err).Retryable() || ctx.Err() != nil || !r.rest(ctx):
				yield(Message{}, err)
				return
			}
		}
	}
}

// reader is one iteration over several streams.
type reader struct {
	c     *Client
	yield func(Message, error) bool
	next  *moldauv1.ReadRequest // what the next stream asks for
	pause time.Duration
}

// rest waits before the next try.
func (r *reader) rest(ctx context.Context) bool {
	timer := r.c.clk.NewTimer(r.pause)
	defer timer.Stop()
	r.pause = min(2*r.pause, lastPause)
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// stream reads one stream. It is done when the stream ended as asked, or the
// loop was left; without an error, the next stream goes on.
func (r *reader) stream(ctx context.Context) (done bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := r.c.clk.AfterFunc(silence, func() { cancel(errcode.New(errcode.NodeUnavailable, "the stream fell silent")) })
	defer watch.Stop()
	stream, err := r.c.Offsets().Read(ctx, r.next)
	if err != nil {
		return false, err
	}
	p := newPlaces(r.next)
	for {
		frame, err := stream.Recv()
		watch.Stop() // while the loop's body works, the silence is ours
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			if p.known() {
				r.next = p.resume()
			}
			if silent, ok := errors.AsType[*errcode.Error](context.Cause(ctx)); ok {
				err = silent
			}
			return false, err
		}
		if again := frame.GetReconnect(); again != nil {
			if again.GetResume() != nil {
				r.next = again.GetResume()
			}
			return false, nil
		}
		if records := frame.GetRecords(); records != nil {
			r.pause = firstPause
			for _, rec := range records.GetRecords() {
				if !r.yield(Message{Topic: records.GetTopic(), Partition: records.GetPartition(), Record: rec}, nil) {
					return true, nil
				}
			}
		}
		p.see(frame)
		watch.Reset(silence)
	}
}

// places follows a stream, to go on from where it broke.
type places struct {
	req  *moldauv1.ReadRequest
	left int64
	at   []*moldauv1.PartitionPlace
	end  []int64 // where an until_end stream ends
	by   map[string]map[int32]int
}

func newPlaces(req *moldauv1.ReadRequest) *places {
	return &places{req: req, left: req.GetMaxRecords(), by: map[string]map[int32]int{}}
}

func (p *places) known() bool { return len(p.at) > 0 }

func (p *places) see(f *moldauv1.ReadResponse) {
	for _, place := range append(f.GetStarted().GetPlaces(), f.GetHeartbeat().GetPlaces()...) {
		p.move(place.GetTopic(), place.GetPartition(), place.GetNextOffset(), place.GetHighWatermark())
	}
	if r := f.GetRecords(); r != nil {
		p.move(r.GetTopic(), r.GetPartition(), r.GetNextOffset(), r.GetHighWatermark())
		p.left -= int64(len(r.GetRecords()))
	}
	if c := f.GetCaughtUp(); c != nil {
		p.move(c.GetTopic(), c.GetPartition(), c.GetNextOffset(), c.GetNextOffset())
	}
}

func (p *places) move(topic string, partition int32, next, end int64) {
	parts := p.by[topic]
	if parts == nil {
		parts = map[int32]int{}
		p.by[topic] = parts
	}
	i, ok := parts[partition]
	if !ok {
		parts[partition] = len(p.at)
		p.at = append(p.at, &moldauv1.PartitionPlace{Topic: topic, Partition: partition, NextOffset: next})
		p.end = append(p.end, end)
		return
	}
	p.at[i].NextOffset = next
}

// resume is the request that goes on. Partitions of an until_end stream that
// have reached their end are left out; where all have, the first is read again
// at its place, as a request cannot ask for nothing.
func (p *places) resume() *moldauv1.ReadRequest {
	out := &moldauv1.ReadRequest{
		MaxBytes: p.req.GetMaxBytes(), UntilEnd: p.req.GetUntilEnd(), MaxRecords: p.req.GetMaxRecords(), ReadCommitted: p.req.GetReadCommitted(),
	}
	if out.MaxRecords > 0 {
		out.MaxRecords = max(p.left, 1)
	}
	topics := map[string]*moldauv1.ReadTopic{}
	for i, place := range p.at {
		if out.GetUntilEnd() && place.GetNextOffset() >= p.end[i] && (i < len(p.at)-1 || len(out.GetTopics()) > 0) {
			continue
		}
		t := topics[place.GetTopic()]
		if t == nil {
			t = &moldauv1.ReadTopic{Topic: place.GetTopic(), Whole: p.whole(place.GetTopic())}
			topics[place.GetTopic()] = t
			out.Topics = append(out.Topics, t)
		}
		t.Partitions = append(t.Partitions, &moldauv1.ReadPartition{
			Partition: place.GetPartition(), Position: &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: place.GetNextOffset()}},
		})
	}
	return out
}

// whole tells whether partitions that a topic gets later are read, too.
func (p *places) whole(topic string) bool {
	for _, t := range p.req.GetTopics() {
		if t.GetTopic() == topic {
			return !p.req.GetUntilEnd() && (t.GetWhole() || len(t.GetPartitions()) == 0)
		}
	}
	return false
}
