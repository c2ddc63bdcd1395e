//go:build faults

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/services/test/faults/history"
)

// lifetime is how long a member of the watching groups stays at most, and
// commitPause how often it commits.
const (
	lifetime    = 20 * time.Second
	commitPause = time.Second
)

// watchers is what the members of one group saw together.
type watchers struct {
	group string
	r     *recorder

	mu     sync.Mutex
	claims []history.Ownership
	polled map[string]map[int64]bool // offsets by log
	past   map[string]int64          // the highest commit acknowledged, by log
}

func newWatchers(r *recorder, group string) *watchers {
	return &watchers{group: group, r: r, polled: map[string]map[int64]bool{}, past: map[string]int64{}}
}

// watch is one place in the group: a member that reads and commits, leaves after
// a while, and is followed by another, until ctx ends.
func (w *watchers) watch(ctx context.Context, process int, brokers []string, topic string, rng *rand.Rand, opts ...kgo.Opt) error {
	for n := 0; ctx.Err() == nil; n++ {
		life, cancel := context.WithTimeout(ctx, lifetime/4+time.Duration(rng.Int64N(int64(lifetime))))
		err := w.live(life, process, fmt.Sprintf("%s/%d/%d", w.group, process, n), brokers, topic, opts)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// live is the life of one member.
func (w *watchers) live(ctx context.Context, process int, name string, brokers []string, topic string, opts []kgo.Opt) error {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ConsumerGroup(w.group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, parts map[string][]int32) { w.claim(c, name, parts) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { w.release(name, parts, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { w.release(name, parts, true) }),
	}, opts...)...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer client.CloseAllowingRebalance()
	due := w.r.now() + int64(commitPause)
	for ctx.Err() == nil {
		polling, cancel := context.WithTimeout(ctx, commitPause)
		fetches := client.PollFetches(polling)
		cancel()
		if err := unmendable(fetches); err != nil && ctx.Err() == nil {
			return fmt.Errorf("group %s reads: %w", w.group, err)
		}
		w.saw(fetches)
		if w.r.now() >= due {
			w.commit(ctx, process, client)
			due = w.r.now() + int64(commitPause)
		}
		client.AllowRebalance()
	}
	return nil
}

func (w *watchers) claim(c *kgo.Client, name string, parts map[string][]int32) {
	_, generation := c.GroupMetadata()
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, list := range parts {
		for _, p := range list {
			w.claims = append(w.claims, history.Ownership{Group: w.group, Partition: logName(topic, p), Member: name, Generation: int64(generation), From: w.r.now()})
		}
	}
}

// release ends claims. Who was thrown out of the group hears of it late, so how
// long it thought that it owned them says nothing.
func (w *watchers) release(name string, parts map[string][]int32, thrownOut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, list := range parts {
		for _, p := range list {
			for i := range w.claims {
				c := &w.claims[i]
				if c.Member != name || c.Partition != logName(topic, p) || c.To != 0 {
					continue
				}
				if c.To = w.r.now(); thrownOut {
					c.To = c.From
				}
			}
		}
	}
}

func (w *watchers) saw(fetches kgo.Fetches) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		log := logName(p.Topic, p.Partition)
		if w.polled[log] == nil {
			w.polled[log] = map[int64]bool{}
		}
		for _, rec := range p.Records {
			w.polled[log][rec.Offset] = true
		}
	})
}

// commit commits what was polled. What is acknowledged is passed for good.
func (w *watchers) commit(ctx context.Context, process int, client *kgo.Client) {
	at := client.UncommittedOffsets()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	if err := client.CommitUncommittedOffsets(bounded); err != nil {
		w.r.failed(process, err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, parts := range at {
		for p, o := range parts {
			log := logName(topic, p)
			w.past[log] = max(w.past[log], o.Offset)
		}
	}
}

// check judges the group once all has ended: owners, and that nothing was
// passed that no member saw.
func (w *watchers) check(ops []history.Op, committed map[string]int64) []history.Anomaly {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(history.CheckOwners(w.claims), history.CheckDelivery(w.group, ops, w.polled, w.past, committed)...)
}
