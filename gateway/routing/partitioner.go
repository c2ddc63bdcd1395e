// Package routing finds the way of a request: a key to its partition, a
// partition to the node that leads it, and again when leadership has moved.
// Above it stand the gateway's APIs; below it the metadata view and the doors
// of storage nodes.
//
// Invariant: a key goes to the partition that Kafka's Java client sends it to.
package routing

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

// Murmur2 is Kafka's 32-bit MurmurHash 2 (org.apache.kafka.common.utils.Utils).
func Murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// PartitionForKey returns the partition of a key in a topic of n > 0
// partitions. The sign bit is dropped, not negated, as Kafka does.
func PartitionForKey(key []byte, n int) int32 {
	return int32(Murmur2(key)&0x7fffffff) % int32(n)
}

// stickyBytes is how much goes to one partition before the next one's turn:
// a few full batches, so that batches stay large and load stays even (KIP-794).
const stickyBytes = 256 << 10

// Sticky chooses partitions for records without a key. It is safe for
// concurrent use.
type Sticky struct {
	mu     sync.Mutex
	topics map[topicid.ID]*stuck
}

type stuck struct {
	partition int32
	left      int
}

// NewSticky returns a Sticky that has chosen nothing yet.
func NewSticky() *Sticky { return &Sticky{topics: map[topicid.ID]*stuck{}} }

// Partition returns the partition for sizeBytes more without a key. It prefers
// partitions that have a leader.
func (s *Sticky) Partition(t *metadataclient.Topic, sizeBytes int) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.topics[t.ID]
	if at == nil {
		at = &stuck{partition: rand.Int32N(int32(len(t.Partitions)))} //nolint:gosec // spreads load, hides nothing
		s.topics[t.ID] = at
	}
	n := int32(len(t.Partitions))
	if at.left <= 0 || at.partition >= n || t.Partitions[at.partition].Leader < 0 {
		at.partition, at.left = nextLed(t, at.partition), stickyBytes
	}
	at.left -= sizeBytes
	return at.partition
}

// Forget drops the topics that keep does not want.
func (s *Sticky) Forget(keep func(topicid.ID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.topics {
		if !keep(id) {
			delete(s.topics, id)
		}
	}
}

func nextLed(t *metadataclient.Topic, after int32) int32 {
	n := int32(len(t.Partitions))
	for i := range n {
		if p := (after + 1 + i) % n; t.Partitions[p].Leader >= 0 {
			return p
		}
	}
	return (after + 1) % n
}
