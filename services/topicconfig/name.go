package topicconfig

import (
	"strings"

	"moldau.dev/services/errcode"
)

// MaxNameBytes is the longest topic name, Kafka's, so that a folder can be
// named for a partition.
const MaxNameBytes = 249

// ValidateName returns an INVALID_TOPIC_NAME that says what is wrong, or nil.
func ValidateName(topic string) error {
	bad := func(format string, args ...any) error {
		return errcode.New(errcode.InvalidTopicName, format, args...).WithField("name")
	}
	switch {
	case topic == "":
		return bad("a topic's name must not be empty")
	case topic == "." || topic == "..":
		return bad("a topic's name must not be %q", topic)
	case len(topic) > MaxNameBytes:
		return bad("a topic's name has at most %d characters; this one has %d", MaxNameBytes, len(topic))
	}
	for i := range len(topic) {
		if !legal(topic[i]) {
			return bad("topic name %q has an illegal character at index %d", topic, i)
		}
	}
	return nil
}

func legal(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-'
}

// CollisionKey is equal for two names exactly if Kafka refuses to have both:
// they would have the same name in metrics, where a dot becomes an underscore.
func CollisionKey(topic string) string { return strings.ReplaceAll(topic, ".", "_") }

// IsInternal tells whether a topic belongs to the coordinator: clients may
// read about it, but not write, alter or delete it.
func IsInternal(topic string) bool {
	switch topic {
	case "__consumer_offsets", "__transaction_state", "__share_group_state":
		return true
	}
	return false
}
