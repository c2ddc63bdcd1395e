package bench

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/transport"
)

const maxFrameBytes = 4 << 20

// Consume reads a topic from its start to its end, again and again. Its own
// topic is filled before.
func Consume(ctx context.Context, cfg Config) (*Report, error) {
	return on(ctx, "consume", cfg, func(ctx context.Context, r *run) error {
		if cfg.Topic == "" {
			if err := r.prepare(ctx); err != nil {
				return err
			}
		}
		return r.consume(ctx)
	})
}

// prepare fills the topic and measures nothing.
func (r *run) prepare(ctx context.Context) error {
	filling := *r
	filling.cfg.Via, filling.cfg.Rate, filling.cfg.Warmup = ViaBatches, 0, 0
	filling.cfg.Duration, filling.cfg.Bytes, filling.cfg.Acks = 0, r.cfg.Fill, moldauv1.Acks_ACKS_ALL
	filling.cfg.Admins, filling.report = nil, &Report{}
	return filling.load(ctx, false)
}

func (r *run) consume(ctx context.Context) error {
	m := newMeter(r.clk.Now().Add(r.cfg.Warmup), r.cfg.Duration, r.cfg.Bytes > 0)
	watch := r.watch(ctx, m)
	group, ctx := errgroup.WithContext(ctx)
	for i := range r.clients {
		group.Go(func() error { return r.readAgain(ctx, i, m) })
	}
	err := group.Wait()
	used := watch.stop()
	if err != nil {
		return err
	}
	r.report.fill(m, used)
	return nil
}

// enough tells whether the window is over.
func (r *run) enough(m *meter) bool {
	_, bytes, _ := m.total()
	return m.over(r.clk.Now()) || r.cfg.Bytes > 0 && bytes >= r.cfg.Bytes
}

func (r *run) readAgain(ctx context.Context, i int, m *meter) error {
	req := &moldauv1.ReadRequest{
		Topics:   []*moldauv1.ReadTopic{{Topic: r.topic}},
		MaxBytes: int32(min(r.cfg.BatchBytes, maxFrameBytes)), UntilEnd: true, AsBatches: r.cfg.Via == ViaBatches,
	}
	for _, p := range share(r.partitions, i, r.cfg.Connections) {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, &moldauv1.ReadPartition{Partition: p})
	}
	read := r.readFrames
	if r.cfg.Via == ViaClient {
		read = r.readMessages
	}
	for !r.enough(m) {
		n, err := read(ctx, i, req, m)
		if err != nil {
			return err
		}
		if n == 0 && !r.enough(m) {
			return errors.New("the topic is empty: there is nothing to read")
		}
	}
	return nil
}

// readFrames reads to the end, or to the end of the window, and returns how
// many bytes came.
func (r *run) readFrames(ctx context.Context, i int, req *moldauv1.ReadRequest, m *meter) (total int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.clients[i].Offsets().Read(ctx, req)
	if err != nil {
		return 0, err
	}
	next, receive := map[int32]int64{}, recvWhole
	if req.GetAsBatches() {
		receive = recvUncopied
	}
	for {
		frame, err := receive(stream)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		for _, place := range frame.GetStarted().GetPlaces() {
			next[place.GetPartition()] = place.GetNextOffset()
		}
		if f := frame.GetRecords(); f != nil {
			records := f.GetNextOffset() - next[f.GetPartition()]
			size := r.sizeOf(frame, records)
			m.count(r.clk.Now(), int(records), size)
			next[f.GetPartition()] = f.GetNextOffset()
			total += size
		}
		if r.enough(m) {
			return total, nil
		}
	}
}

// received is a frame, whose batches were counted and let go.
type received struct {
	*moldauv1.ReadResponse
	batchBytes int
}

// The fields of a ReadResponse that batches are in.
const (
	recordsField       = 2
	recordBatchesField = 4
)

func recvWhole(stream grpc.ServerStreamingClient[moldauv1.ReadResponse]) (*received, error) {
	frame, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return &received{ReadResponse: frame, batchBytes: len(frame.GetRecords().GetRecordBatches())}, nil
}

// recvUncopied receives a frame as clients do that pass batches on: it reads all
// but the batches.
func recvUncopied(stream grpc.ServerStreamingClient[moldauv1.ReadResponse]) (*received, error) {
	got := &received{ReadResponse: new(moldauv1.ReadResponse)}
	whole := transport.NewFrame(got.ReadResponse, recordsField)
	defer whole.Free()
	if err := stream.RecvMsg(whole); err != nil {
		return nil, err
	}
	if len(whole.Body) == 0 {
		return got, nil
	}
	records := new(moldauv1.ReadRecords)
	inner := transport.NewFrame(records, recordBatchesField)
	defer inner.Free()
	if err := whole.Split(inner); err != nil {
		return nil, err
	}
	got.batchBytes = inner.Body.Len()
	got.Frame = &moldauv1.ReadResponse_Records{Records: records}
	return got, nil
}

// sizeOf counts keys and values, save in batches of somebody else's topic,
// which count as they are.
func (r *run) sizeOf(f *received, records int64) int64 {
	if r.cfg.Topic == "" {
		return records * int64(r.cfg.RecordBytes)
	}
	size := f.batchBytes
	for _, rec := range f.GetRecords().GetRecords() {
		size += len(rec.GetKey()) + len(rec.GetValue())
	}
	return int64(size)
}

// readMessages is readFrames as programs read.
func (r *run) readMessages(ctx context.Context, i int, req *moldauv1.ReadRequest, m *meter) (total int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for rec, err := range r.clients[i].Read(ctx, req) {
		if err != nil {
			return total, err
		}
		size := int64(len(rec.GetKey()) + len(rec.GetValue()))
		total += size
		m.count(r.clk.Now(), 1, size)
		if r.enough(m) {
			return total, nil
		}
	}
	return total, nil
}
