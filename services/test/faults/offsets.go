//go:build faults

package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/faults/history"
)

const registerPause = 200 * time.Millisecond

// registers is what was done to committed offsets of groups without members:
// each is one register (invariant 20), written and read through both doors.
type registers struct {
	r  *recorder
	mu sync.Mutex

	ops   []history.OffsetOp
	next  int64
	count map[string]int // of registers so far, by group
}

func newRegisters(r *recorder) *registers { return &registers{r: r, count: map[string]int{}} }

// add notes an operation. A group with a commit that nobody saw the end of is
// left for a new one: it might still land at any time.
func (g *registers) add(group string, op history.OffsetOp) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ops = append(g.ops, op)
	if op.Outcome == history.Unknown {
		g.count[group]++
	}
}

// begin begins an operation on the group that is used now.
func (g *registers) begin(group, topic string, commit bool) history.OffsetOp {
	g.mu.Lock()
	defer g.mu.Unlock()
	op := history.OffsetOp{Group: fmt.Sprintf("%s-%d", group, g.count[group]), Partition: logName(topic, 0), Commit: commit, Invoke: g.r.now()}
	if commit {
		g.next++
		op.Offset = g.next
	}
	return op
}

// commitNative commits through the gRPC door to one group until ctx ends.
func (g *registers) commitNative(ctx context.Context, process int, c *gatewayclient.Client, group, topic string) error {
	for ; ctx.Err() == nil; rest(ctx, g.r.clk, registerPause) {
		op := g.begin(group, topic, true)
		bounded, cancel := context.WithTimeout(ctx, callLimit)
		resp, err := c.GroupOffsets().CommitOffsets(bounded, &moldauv1.CommitOffsetsRequest{
			GroupId: op.Group, Offsets: []*moldauv1.GroupOffset{{Topic: topic, Offset: op.Offset}},
		})
		cancel()
		if err == nil {
			err = refusedOffset(resp.GetOffsets())
		}
		g.committed(process, group, op, err)
	}
	return nil
}

// commitKafka is commitNative through the Kafka door.
func (g *registers) commitKafka(ctx context.Context, process int, brokers []string, group, topic string) error {
	admin, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer admin.Close()
	for ; ctx.Err() == nil; rest(ctx, g.r.clk, registerPause) {
		op := g.begin(group, topic, true)
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, 0, op.Offset, -1)
		bounded, cancel := context.WithTimeout(ctx, callLimit)
		got, err := admin.CommitOffsets(bounded, op.Group, offsets)
		cancel()
		if err == nil {
			err = got.Error()
		}
		g.committed(process, group, op, err)
	}
	return nil
}

func (g *registers) committed(process int, group string, op history.OffsetOp, err error) {
	op.Complete = g.r.now()
	if err != nil {
		op.Outcome = history.Unknown
		g.r.failed(process, fmt.Errorf("commit an offset: %w", err))
	}
	g.add(group, op)
}

// fetchNative reads a group's offset through the gRPC door until ctx ends.
func (g *registers) fetchNative(ctx context.Context, process int, c *gatewayclient.Client, group, topic string) error {
	for ; ctx.Err() == nil; rest(ctx, g.r.clk, registerPause) {
		op := g.begin(group, topic, false)
		bounded, cancel := context.WithTimeout(ctx, callLimit)
		at, err := committed(bounded, c, op.Group, topic, 0)
		cancel()
		g.fetched(process, group, op, at, err)
	}
	return nil
}

// fetchKafka is fetchNative through the Kafka door.
func (g *registers) fetchKafka(ctx context.Context, process int, brokers []string, group, topic string) error {
	admin, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer admin.Close()
	for ; ctx.Err() == nil; rest(ctx, g.r.clk, registerPause) {
		op := g.begin(group, topic, false)
		bounded, cancel := context.WithTimeout(ctx, callLimit)
		got, err := admin.FetchOffsets(bounded, op.Group)
		cancel()
		if err == nil {
			err = got.Error()
		}
		at := int64(history.NoOffset)
		if o, ok := got.Lookup(topic, 0); ok {
			at = o.At
		}
		g.fetched(process, group, op, at, err)
	}
	return nil
}

func (g *registers) fetched(process int, group string, op history.OffsetOp, at int64, err error) {
	if err != nil {
		g.r.failed(process, fmt.Errorf("fetch an offset: %w", err))
		return
	}
	op.Offset, op.Complete = at, g.r.now()
	g.add(group, op)
}

// check judges all registers.
func (g *registers) check() []history.Anomaly {
	g.mu.Lock()
	defer g.mu.Unlock()
	return history.CheckOffsets(g.ops)
}

func newAdmin(brokers []string) (*kadm.Client, error) {
	// A repeated commit might land twice, long after its answer.
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequestRetries(0))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return kadm.NewClient(client), nil
}
