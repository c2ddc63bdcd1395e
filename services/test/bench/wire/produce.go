package main

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"moldau.dev/services/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const produceVersion = 8 // the last that is not flexible: its answer is read by hand

// producing is one connection's share of the partitions.
type producing struct {
	cfg        config
	c          *conn
	partitions []int
	batch      []byte
	head       []byte
	producer   int64
	sequence   []int32
	records    int
	sent       chan time.Time // of requests without an answer, in order
}

// produce sends batches as fast as they are answered.
func produce(ctx context.Context, cfg config) (*report, error) {
	m := newMeter(cfg)
	group, ctx := errgroup.WithContext(ctx)
	addrs, err := leaders(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for i := range cfg.connections {
		p, err := newProducing(ctx, cfg, addrs, i)
		if err != nil {
			return nil, err
		}
		group.Go(func() error { return p.send(ctx, m) })
		group.Go(func() error { return p.receive(m) })
	}
	group.Go(func() error { return m.watch(ctx) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return m.report(), nil
}

func newProducing(ctx context.Context, cfg config, addrs []string, i int) (*producing, error) {
	p := &producing{cfg: cfg, producer: record.NoProducerID, sequence: make([]int32, cfg.partitions), sent: make(chan time.Time, cfg.inFlight-1)}
	for n := i % cfg.partitions; n < cfg.partitions; n += cfg.connections {
		if addrs[n] == addrs[i%cfg.partitions] { // a connection goes to one broker
			p.partitions = append(p.partitions, n)
		}
	}
	var err error
	if p.c, err = dial(ctx, addrs[p.partitions[0]]); err != nil {
		return nil, err
	}
	if cfg.idempotent {
		resp, err := p.c.call(kmsg.NewPtrInitProducerIDRequest(), 1)
		if err != nil {
			return nil, err
		}
		p.producer = resp.(*kmsg.InitProducerIDResponse).ProducerID
	}
	p.records = max(cfg.batchBytes/cfg.recordBytes, 1)
	return p, p.encode(p.records)
}

// encode makes the batch that is sent again and again.
func (p *producing) encode(records int) error {
	value := make([]byte, p.cfg.recordBytes)
	random := rand.NewChaCha8([32]byte{'w', 'i', 'r', 'e'})
	_, _ = random.Read(value)
	opts := record.DefaultBuilderOptions()
	if p.producer >= 0 {
		opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence = p.producer, 0, 0
	}
	b := record.NewBuilder(opts)
	now := time.Now().UnixMilli()
	for range records {
		b.Append(&record.Record{Value: value, Timestamp: now})
	}
	var err error
	p.batch, err = b.Build(nil)
	return err
}

// frame writes the head of a request for one partition; the batch follows it.
func (p *producing) frame(partition int) net.Buffers {
	b := append(p.head[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, 0) // Produce
	b = binary.BigEndian.AppendUint16(b, produceVersion)
	b = binary.BigEndian.AppendUint32(b, 0) // correlation
	b = binary.BigEndian.AppendUint16(b, uint16(len(clientID)))
	b = append(b, clientID...)
	b = binary.BigEndian.AppendUint16(b, 0xffff) // no transaction
	b = binary.BigEndian.AppendUint16(b, uint16(int16(p.cfg.acks)))
	b = binary.BigEndian.AppendUint32(b, 30_000)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.cfg.topic)))
	b = append(b, p.cfg.topic...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.batch)))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4+len(p.batch)))
	p.head = b
	if p.producer >= 0 {
		p.stamp(partition)
	}
	return net.Buffers{p.head, p.batch}
}

// stamp gives the batch the partition's next sequence.
func (p *producing) stamp(partition int) {
	binary.BigEndian.PutUint32(p.batch[53:], uint32(p.sequence[partition]))
	p.sequence[partition] += int32(p.records)
	binary.BigEndian.PutUint32(p.batch[17:], crc32.Checksum(p.batch[21:], castagnoli))
}

func (p *producing) send(ctx context.Context, m *meter) error {
	defer close(p.sent)
	for i := 0; !m.over(); i++ {
		frame := p.frame(p.partitions[i%len(p.partitions)])
		select {
		case p.sent <- time.Now():
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := frame.WriteTo(p.c.net); err != nil {
			return err
		}
	}
	return nil
}

func (p *producing) receive(m *meter) error {
	var buf []byte
	for sent := range p.sent {
		var err error
		if buf, err = p.c.read(buf); err != nil {
			return err
		}
		if err := p.refused(buf); err != nil {
			return err
		}
		m.count(p.records, p.records*p.cfg.recordBytes)
		m.ack(time.Since(sent))
	}
	return p.c.net.Close()
}

// refused reads the error code out of an answer for one partition.
func (p *producing) refused(answer []byte) error {
	at := 4 + 2 + len(p.cfg.topic) + 4 + 4
	return kerr.ErrorForCode(int16(binary.BigEndian.Uint16(answer[at:])))
}
