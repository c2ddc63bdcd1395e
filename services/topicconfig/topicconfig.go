// Package topicconfig is the one table of topic configs: names, defaults,
// bounds and documentation, Kafka's where Kafka has them. Metadata checks
// overrides against it, storage nodes act on it, gateways show it.
package topicconfig

import "time"

// Config is the effective configuration of one topic.
type Config struct {
	CleanupDelete          bool          // cleanup.policy has `delete`
	CleanupCompact         bool          // cleanup.policy has `compact`
	CompressionType        string        // producer, uncompressed, gzip, snappy, lz4, zstd
	DeleteRetention        time.Duration // delete.retention.ms
	Durable                bool          // moldau.durability is `durable`, not `relaxed`
	FileDeleteDelay        time.Duration // file.delete.delay.ms
	IndexIntervalBytes     int32         // index.interval.bytes
	MaxCompactionLag       time.Duration // max.compaction.lag.ms
	MaxMessageBytes        int32         // max.message.bytes: a whole batch with its header
	LogAppendTime          bool          // message.timestamp.type is LogAppendTime
	TimestampAfterMax      time.Duration // message.timestamp.after.max.ms
	TimestampBeforeMax     time.Duration // message.timestamp.before.max.ms
	MinCleanableDirtyRatio float64       // min.cleanable.dirty.ratio
	MinCompactionLag       time.Duration // min.compaction.lag.ms
	MinInsyncReplicas      int32         // min.insync.replicas
	RetentionBytes         int64         // retention.bytes, -1 unlimited
	Retention              time.Duration // retention.ms, negative unlimited
	SegmentBytes           int32         // segment.bytes
	SegmentAge             time.Duration // segment.ms
}

// Definition describes one config.
type Definition struct {
	Name          string
	Default       string
	Documentation string // with the unit
	set           func(c *Config, value string) error
}
