package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// Latency sends by a fixed schedule and reads what it sent: how long after a
// record was due it was acknowledged, and how long after that time it reached
// a reader.
func Latency(ctx context.Context, cfg Config) (*Report, error) {
	if !(cfg.Rate > 0) {
		return nil, errors.New("a latency needs a rate")
	}
	return on(ctx, "latency", cfg, func(ctx context.Context, r *run) error {
		return r.load(ctx, true)
	})
}

// tail reads a topic from its end on, on a connection of its own.
type tail struct {
	r       *run
	m       *meter
	payload *payload
	begin   time.Time
	cancel  context.CancelFunc
	seen    atomic.Int64
	ended   chan struct{}
	err     error // read it after ended is closed
}

// tail returns once the stream stands at the end of every partition.
func (r *run) tail(ctx context.Context, base time.Time, m *meter) (*tail, error) {
	client, err := gatewayclient.Dial(r.cfg.Addr, gatewayclient.Options{})
	if err != nil {
		return nil, err
	}
	r.clients = append(r.clients, client)
	ctx, cancel := context.WithCancel(ctx)
	stream, err := client.Offsets().Read(ctx, &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{
		Topic: r.topic, Position: &moldauv1.Position{At: &moldauv1.Position_End{End: true}},
	}}})
	if err == nil {
		_, err = stream.Recv() // where each partition stands
	}
	if err != nil {
		cancel()
		return nil, err
	}
	t := &tail{r: r, m: m, payload: newPayload(base, stampBytes), begin: base, cancel: cancel, ended: make(chan struct{})}
	go t.run(stream)
	return t, nil
}

func (t *tail) run(stream grpc.ServerStreamingClient[moldauv1.ReadResponse]) {
	defer close(t.ended)
	for {
		frame, err := stream.Recv()
		if err != nil {
			t.err = err
			return
		}
		now := t.r.clk.Now()
		for _, rec := range frame.GetRecords().GetRecords() {
			due, ok := t.payload.dueOf(rec.GetValue())
			if !ok || due.Before(t.begin) || due.After(now) {
				continue // somebody else's
			}
			t.seen.Add(1)
			t.m.reached(due, now)
		}
	}
}

const (
	tailPatience = 10 * time.Second
	tailLook     = 5 * time.Millisecond
)

// end waits until the reader has seen what was sent.
func (t *tail) end(ctx context.Context, sent int64) error {
	defer func() {
		t.cancel()
		<-t.ended
	}()
	for begin := t.r.clk.Now(); t.seen.Load() < sent; {
		select {
		case <-t.ended:
			return fmt.Errorf("the reader's stream ended: %w", t.err)
		default:
		}
		if t.r.clk.Since(begin) > tailPatience {
			return fmt.Errorf("%d of %d records reached the reader within %s", t.seen.Load(), sent, tailPatience)
		}
		if err := rest(ctx, t.r.clk, tailLook); err != nil {
			return err
		}
	}
	return nil
}
