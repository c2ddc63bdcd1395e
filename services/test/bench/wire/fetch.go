package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"moldau.dev/services/record"
)

const fetchVersion = 11 // the last that is not flexible

// fetch reads the partitions from their start to their end, again and again,
// one request after the other, a connection for each.
func fetch(ctx context.Context, cfg config) (*report, error) {
	m := newMeter(cfg)
	group, ctx := errgroup.WithContext(ctx)
	addrs, err := leaders(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for i := range cfg.connections {
		group.Go(func() error { return fetchAgain(ctx, cfg, addrs[i%cfg.partitions], int32(i%cfg.partitions), m) })
	}
	group.Go(func() error { return m.watch(ctx) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return m.report(), nil
}

func fetchAgain(ctx context.Context, cfg config, addr string, partition int32, m *meter) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.net.Close() //nolint:errcheck // nothing was written that could be lost
	var buf []byte
	for offset := int64(0); !m.over(); {
		if _, err := c.net.Write(fetchRequest(cfg, partition, offset)); err != nil {
			return err
		}
		if buf, err = c.read(buf); err != nil {
			return err
		}
		next, batches, err := fetchAnswer(cfg, buf)
		switch {
		case err != nil:
			return err
		case next == 0 && offset == 0:
			return errors.New("the partition is empty: there is nothing to read")
		case next == 0: // the end
			offset = 0
			continue
		}
		m.count(int(next-offset), batches)
		offset = next
	}
	return nil
}

func fetchRequest(cfg config, partition int32, offset int64) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, 500, 0, int32(cfg.fetchBytes)
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = cfg.topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, math.MaxInt32, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	req.SetVersion(fetchVersion)
	return formatter.AppendRequest(nil, req, 0)
}

// fetchAnswer hops over the batches of an answer for one partition and returns
// the offset after them, 0 where there are none, and their bytes.
func fetchAnswer(cfg config, b []byte) (next int64, bytes int, err error) {
	at := 4 + 2 + 4 + 4 + 2 + len(cfg.topic) + 4 + 4
	if err := kerr.ErrorForCode(int16(binary.BigEndian.Uint16(b[at:]))); err != nil {
		return 0, 0, err
	}
	at += 2 + 8 + 8 + 8
	if aborted := int32(binary.BigEndian.Uint32(b[at:])); aborted > 0 {
		at += 16 * int(aborted)
	}
	at += 4 + 4
	for rest := b[at+4:]; len(rest) > record.HeaderSize; {
		h, err := record.ParseHeader(rest)
		if err != nil {
			return 0, 0, err
		}
		if h.Size() > len(rest) {
			break // the last may be cut off
		}
		next, bytes, rest = h.NextOffset(), bytes+h.Size(), rest[h.Size():]
	}
	return next, bytes, nil
}
