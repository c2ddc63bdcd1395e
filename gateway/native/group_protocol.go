package native

import (
	"encoding/binary"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// consumerProtocol is the protocol type of groups whose members are consumers:
// what they tell each other is known here, to show it.
const consumerProtocol = "consumer"

// told reads what members of a classic group tell each other: big-endian
// numbers, strings of 16-bit length, lists of 32-bit length. Past the end it
// reads zeros.
type told struct {
	b    []byte
	over bool
}

func (t *told) next(n int) []byte {
	if n < 0 || n > len(t.b) {
		t.over, t.b = true, nil
		return make([]byte, max(min(n, 4), 0))
	}
	b := t.b[:n]
	t.b = t.b[n:]
	return b
}

func (t *told) int16() int   { return int(int16(binary.BigEndian.Uint16(t.next(2)))) }
func (t *told) int32() int32 { return int32(binary.BigEndian.Uint32(t.next(4))) }
func (t *told) string() string {
	n := t.int16()
	if n < 0 || n > len(t.b) {
		t.over = true
		return ""
	}
	return string(t.next(n))
}

// readTopics reads the topics of a ConsumerProtocolSubscription; none where the
// bytes are not one.
func readTopics(metadata []byte) (topics []string) {
	t := told{b: metadata}
	t.int16() // version
	for n := t.int32(); n > 0 && !t.over; n-- {
		topics = append(topics, t.string())
	}
	if t.over {
		return nil
	}
	return topics
}

// readAssignment reads a ConsumerProtocolAssignment; none where the bytes are
// not one.
func readAssignment(assignment []byte) (out []*moldauv1.TopicPartitions) {
	t := told{b: assignment}
	t.int16() // version
	for n := t.int32(); n > 0 && !t.over; n-- {
		p := &moldauv1.TopicPartitions{Topic: t.string()}
		for m := t.int32(); m > 0 && !t.over; m-- {
			p.Partitions = append(p.Partitions, t.int32())
		}
		out = append(out, p)
	}
	if t.over {
		return nil
	}
	return out
}
