package gatewayclient

import (
	"context"
	"sync"
	"time"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
)

// fresh is how long a topic's partitions are believed.
const fresh = time.Minute

// topics knows the partitions of the topics that are produced to.
type topics struct {
	c *Client

	mu     sync.Mutex
	known  map[string]*topic
	sticky *routing.Sticky
}

type topic struct {
	*metadataclient.Topic
	seen time.Time
}

// choose returns the partition for a record.
func (ts *topics) choose(ctx context.Context, name string, given *int32, key []byte, size int) (int32, error) {
	if given != nil {
		if *given < 0 {
			return 0, errcode.New(errcode.UnknownPartition, "%d is not a partition", *given).WithField("partition")
		}
		return *given, nil // the gateway knows whether there is one
	}
	t, err := ts.get(ctx, name)
	if err != nil {
		return 0, err
	}
	if key != nil {
		return routing.PartitionForKey(key, len(t.Partitions)), nil
	}
	return ts.sticky.Partition(t.Topic, size), nil
}

func (ts *topics) get(ctx context.Context, name string) (*topic, error) {
	now := ts.c.clk.Now()
	ts.mu.Lock()
	defer ts.mu.Unlock() // one question at a time; the others wait for its answer
	t := ts.known[name]
	if t != nil && now.Sub(t.seen) < fresh {
		return t, nil
	}
	resp, err := ts.c.Topics().GetTopic(ctx, &moldauv1.GetTopicRequest{Name: name})
	if err != nil {
		if t != nil && errcode.Of(err).Retryable() {
			return t, nil // better what was true a minute ago
		}
		return nil, err
	}
	id, err := topicid.Parse(resp.GetTopic().GetTopicId())
	if err != nil {
		return nil, err
	}
	t = &topic{Topic: &metadataclient.Topic{ID: id, Name: name}, seen: now}
	for _, part := range resp.GetTopic().GetPartitions() {
		t.Partitions = append(t.Partitions, metadataclient.Partition{Leader: part.GetLeaderId()})
	}
	if len(t.Partitions) == 0 {
		return nil, errcode.New(errcode.Internal, "topic %q has no partitions", name)
	}
	ts.known[name] = t
	return t, nil
}

func toRecord(r *moldauv1.Record, now time.Time) record.Record {
	out := record.Record{Timestamp: now.UnixMilli(), Key: r.GetKey(), Value: r.GetValue()}
	if r.GetTimestamp() != nil {
		out.Timestamp = r.GetTimestamp().AsTime().UnixMilli()
	}
	for _, h := range r.GetHeaders() {
		out.Headers = append(out.Headers, record.RecordHeader{Key: h.GetKey(), Value: h.GetValue()})
	}
	return out
}

// sizeOf is a little more than what r takes in a batch.
func sizeOf(r *record.Record) int {
	const overhead, perHeader = 96, 10 // the batch's header, lest many small batches be for nothing
	n := overhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += perHeader + len(h.Key) + len(h.Value)
	}
	return n
}

func backoff(tries int) time.Duration { return min(firstPause<<min(tries, 10), lastPause) }
