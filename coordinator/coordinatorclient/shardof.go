package coordinatorclient

import "math"

// ShardOf returns the shard, of shards > 0, that owns a group or transactional
// id: the absolute value of Java's String.hashCode, which goes by UTF-16 units,
// modulo the number of shards. It is the partition of __consumer_offsets, or of
// __transaction_state, that Kafka keeps the id in.
func ShardOf(id string, shards int) int32 {
	var h int32
	for _, r := range id {
		if r > 0xffff {
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	if h == math.MinInt32 {
		return 0
	}
	if h < 0 {
		h = -h
	}
	return h % int32(shards)
}
