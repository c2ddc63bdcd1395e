package group

import (
	"encoding/binary"
	"errors"
	"slices"
)

// consumerProtocolType is the protocol type of groups whose members are
// consumers: what they tell each other is known here.
const consumerProtocolType = "consumer"

// subscription is what a consumer says of itself in a classic group: Kafka's
// ConsumerProtocolSubscription, versions 0 to 3.
type subscription struct {
	version int16
	topics  []string
	owned   []topicIndexes // from version 1
	rack    string         // from version 3
}

// topicIndexes are partitions of a topic by name.
type topicIndexes struct {
	topic   string
	indexes []int32
}

const newestSubscription = 3

var errProtocol = errors.New("not the bytes of Kafka's consumer protocol")

// readSubscription reads a subscription. What a newer version adds at the end
// is left alone.
func readSubscription(b []byte) (subscription, error) {
	r := protocolReader{b: b}
	s := subscription{version: r.int16()}
	if s.version < 0 {
		return s, errProtocol
	}
	for range r.count(2) {
		s.topics = append(s.topics, r.string())
	}
	r.bytes() // user data
	if s.version >= 1 {
		s.owned = r.topicIndexes()
	}
	if s.version >= 2 {
		r.int32() // generation
	}
	if s.version >= 3 {
		s.rack = r.string()
	}
	if r.short {
		return subscription{}, errProtocol
	}
	slices.Sort(s.topics)
	s.topics = slices.Compact(s.topics)
	return s, nil
}

// readAssignment reads a ConsumerProtocolAssignment; no bytes are none.
func readAssignment(b []byte) ([]topicIndexes, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := protocolReader{b: b}
	if r.int16() < 0 {
		return nil, errProtocol
	}
	list := r.topicIndexes()
	if r.short {
		return nil, errProtocol
	}
	return list, nil
}

// writeAssignment writes one, in the version that the member speaks.
func writeAssignment(version int16, list []topicIndexes) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(nil, uint16(min(max(version, 0), newestSubscription)))
	b = be.AppendUint32(b, uint32(len(list)))
	for _, t := range list {
		b = be.AppendUint16(b, uint16(len(t.topic)))
		b = append(b, t.topic...)
		b = be.AppendUint32(b, uint32(len(t.indexes)))
		for _, i := range t.indexes {
			b = be.AppendUint32(b, uint32(i))
		}
	}
	return be.AppendUint32(b, 1<<32-1) // no user data: null
}

// protocolReader reads Kafka's inflexible encoding. Once the bytes end early it
// is short, and gives zeroes.
type protocolReader struct {
	b     []byte
	short bool
}

func (r *protocolReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.short = nil, true
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *protocolReader) int16() int16 {
	b := r.take(2)
	if b == nil {
		return 0
	}
	return int16(binary.BigEndian.Uint16(b))
}

func (r *protocolReader) int32() int32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return int32(binary.BigEndian.Uint32(b))
}

// string reads a string; null is empty.
func (r *protocolReader) string() string {
	n := r.int16()
	if n == -1 {
		return ""
	}
	return string(r.take(int(n)))
}

func (r *protocolReader) bytes() []byte {
	n := r.int32()
	if n == -1 {
		return nil
	}
	return r.take(int(n))
}

// count reads the length of a list whose elements take some bytes at least, so
// that no more is believed than can be there.
func (r *protocolReader) count(size int) int {
	n := int(r.int32())
	if n == -1 {
		return 0
	}
	if n < 0 || n > len(r.b)/size {
		r.b, r.short = nil, true
		return 0
	}
	return n
}

func (r *protocolReader) topicIndexes() (list []topicIndexes) {
	for range r.count(6) {
		t := topicIndexes{topic: r.string()}
		for range r.count(4) {
			t.indexes = append(t.indexes, r.int32())
		}
		list = append(list, t)
	}
	return list
}
