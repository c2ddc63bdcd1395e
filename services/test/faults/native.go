//go:build faults

package faults

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/faults/history"
)

// pollSize is how many records are noted as one poll.
const pollSize = 200

// logName is what histories call a partition.
func logName(topic string, partition int32) string { return fmt.Sprintf("%s-%d", topic, partition) }

func encode(value int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(value)) }

func decode(data []byte) int64 {
	if len(data) != 8 {
		return -1 // nobody wrote it: the checker says so
	}
	return int64(binary.BigEndian.Uint64(data))
}

// produceNative sends values to all partitions through the gRPC door, with a
// pause between rounds, until ctx ends; then it waits for the answers.
func produceNative(ctx context.Context, r *recorder, process int, c *gatewayclient.Client, topic string, partitions int32, pause time.Duration) error {
	p := c.NewProducer(gatewayclient.ProducerOptions{DeliveryTimeout: time.Minute})
	ticker := r.clk.NewTimer(pause)
	defer ticker.Stop()
	for ctx.Err() == nil {
		for partition := range partitions {
			value, invoked := r.next(), r.now()
			err := p.Produce(ctx, topic, &partition, &moldauv1.Record{Value: encode(value)}, func(at gatewayclient.Receipt, err error) {
				r.sent(process, logName(topic, partition), value, at.Offset, invoked, err, false)
			})
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("produce: %w", err)
			}
		}
		select {
		case <-ticker.C():
			ticker.Reset(pause)
		case <-ctx.Done():
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	return p.Close(ending)
}

// readNative reads a topic through the gRPC door until ctx ends, or to the end
// that it has now.
func readNative(ctx context.Context, r *recorder, process int, c *gatewayclient.Client, topic string, untilEnd bool) error {
	polls := map[int32]*history.Op{}
	flush := func(partition int32) {
		if op := polls[partition]; op != nil {
			op.Complete = r.now()
			r.add(*op)
			delete(polls, partition)
		}
	}
	req := &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: topic}}, UntilEnd: untilEnd, ReadCommitted: true}
	for m, err := range c.Read(ctx, req) {
		if err != nil {
			if ctx.Err() == nil || untilEnd {
				return fmt.Errorf("read: %w", err)
			}
			break
		}
		op := polls[m.Partition]
		if op == nil {
			op = &history.Op{Process: process, Invoke: r.now(), Actions: []history.Action{{Log: logName(topic, m.Partition)}}}
			polls[m.Partition] = op
		}
		records := &op.Actions[0].Records
		*records = append(*records, history.Record{Value: decode(m.GetValue()), Offset: m.GetOffset()})
		if len(*records) == pollSize {
			flush(m.Partition)
		}
	}
	for partition := range polls {
		flush(partition)
	}
	return nil
}
