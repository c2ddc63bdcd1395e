package routing_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// TestMurmur2MatchesKafka has the vectors of Kafka's own UtilsTest.
func TestMurmur2MatchesKafka(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(routing.Murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// TestKeysGoWhereFranzGoSendsThem compares with a client that is known to
// agree with Kafka's.
func TestKeysGoWhereFranzGoSendsThem(t *testing.T) {
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	random := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		key := make([]byte, random.IntN(40))
		for i := range key {
			key[i] = byte(random.UintN(256))
		}
		n := 1 + random.IntN(100)
		if got, want := routing.PartitionForKey(key, n), theirs.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("key %x of %d partitions: %d, want %d", key, n, got, want)
		}
	}
}

func TestStickySpreadsLoadAndAvoidsLeaderlessPartitions(t *testing.T) {
	topic := &metadataclient.Topic{ID: topicid.New(), Partitions: make([]metadataclient.Partition, 4)}
	topic.Partitions[2].Leader = -1
	s := routing.NewSticky()
	bytes := map[int32]int{}
	moves, last := 0, int32(-1)
	for range 30_000 {
		p := s.Partition(topic, 1024)
		bytes[p] += 1024
		if p != last {
			moves, last = moves+1, p
		}
	}
	if bytes[2] > 0 || len(bytes) != 3 {
		t.Errorf("bytes by partition %v", bytes)
	}
	for p, n := range bytes {
		if n < 9<<20 || n > 11<<20 {
			t.Errorf("partition %d got %d bytes", p, n)
		}
	}
	if moves > 130 {
		t.Errorf("%d moves: batches stay small", moves)
	}
}

func TestLeaderErrors(t *testing.T) {
	meta := gatewaytest.NewMetadata()
	nodes := gatewaytest.NewNodes(gatewaytest.NewStorage(clock.Real()))
	r := routing.NewRouter(meta, nodes, clock.Real())
	if _, err := r.Leader(storageclient.PartitionID{}); !errcode.Is(err, errcode.UnknownTopic) {
		t.Errorf("no topic: %v", err)
	}
	if _, err := meta.CreateTopic(t.Context(), &metadatav1.CreateTopicRequest{Name: "t"}); err != nil {
		t.Fatal(err)
	}
	id := storageclient.PartitionID{Topic: meta.View().Topics["t"].ID}
	if _, err := r.Leader(storageclient.PartitionID{Topic: id.Topic, Index: 1}); !errcode.Is(err, errcode.UnknownPartition) {
		t.Errorf("no partition: %v", err)
	}
	if l, err := r.Leader(id); err != nil || l.NodeID != 1 || l.Epoch != 0 {
		t.Errorf("leader %v, %v", l, err)
	}
	for _, node := range []int32{-1, 9} {
		meta.Lead("t", 0, node)
		if _, err := r.Leader(id); !routing.Unreachable(err) {
			t.Errorf("led by %d: %v", node, err)
		}
	}
}

// TestTriesComeWithTheViewOrAfterAPauseThatGrows uses the bubble's clock.
func TestTriesComeWithTheViewOrAfterAPauseThatGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meta := gatewaytest.NewMetadata()
		tries := routing.NewRouter(meta, gatewaytest.NewNodes(nil), clock.Real()).Attempts()
		start := time.Now()
		for range 10 {
			tries.Begin()
			if !tries.Wait(t.Context()) {
				t.Fatal("gave up")
			}
		}
		if took := time.Since(start); took < 2*time.Second || took > 6*time.Second {
			t.Errorf("ten tries took %s", took)
		}
		tries.Begin()
		meta.Change(func(*metadataclient.View) {})
		start = time.Now()
		if !tries.Wait(t.Context()) || time.Since(start) > 0 {
			t.Error("the view moved, and the try waited")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		tries.Begin()
		if tries.Wait(ctx) {
			t.Error("another try after the end")
		}
	})
}
