package topicconfig

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxTimeMs bounds durations, so that milliseconds fit a time.Duration. Kafka
// allows up to 2⁶³−1; larger values act as this one, about 292 years.
const maxTimeMs = math.MaxInt64 / int64(time.Millisecond)

// definitions is THE table, by name. Names, defaults and bounds are those of
// Kafka's TopicConfig, but for what starts with `moldau.`.
var definitions = []Definition{
	{"cleanup.policy", "delete", "What happens to old segments: delete (by retention), compact (keep the last record of each key), or both, separated by a comma.", setCleanup},
	{"compression.type", "producer", "Compression of stored batches: producer (as sent), uncompressed, gzip, snappy, lz4 or zstd.",
		oneOf(func(c *Config) *string { return &c.CompressionType }, "producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")},
	{"delete.retention.ms", "86400000", "How long a tombstone stays after compaction, in milliseconds; at least 0.",
		millis(func(c *Config) *time.Duration { return &c.DeleteRetention }, 0)},
	{"file.delete.delay.ms", "60000", "How long a removed segment's file stays on disk, in milliseconds; at least 0.",
		millis(func(c *Config) *time.Duration { return &c.FileDeleteDelay }, 0)},
	{"index.interval.bytes", "4096", "Bytes of records between two entries of an offset index; at least 0.",
		int32Of(func(c *Config) *int32 { return &c.IndexIntervalBytes }, 0)},
	{"max.compaction.lag.ms", "9223372036854775807", "How long a record may stay uncompacted, in milliseconds; at least 1.",
		millis(func(c *Config) *time.Duration { return &c.MaxCompactionLag }, 1)},
	{"max.message.bytes", "1048588", "Largest record batch with its header, in bytes, after compression; at least 0.",
		int32Of(func(c *Config) *int32 { return &c.MaxMessageBytes }, 0)},
	{"message.timestamp.after.max.ms", "3600000", "How far a record's timestamp may lie in the future, in milliseconds; at least 0. Unused with LogAppendTime.",
		millis(func(c *Config) *time.Duration { return &c.TimestampAfterMax }, 0)},
	{"message.timestamp.before.max.ms", "9223372036854775807", "How far a record's timestamp may lie in the past, in milliseconds; at least 0. Unused with LogAppendTime.",
		millis(func(c *Config) *time.Duration { return &c.TimestampBeforeMax }, 0)},
	{"message.timestamp.type", "CreateTime", "Whose clock stamps records: CreateTime (the producer's) or LogAppendTime (the leader's).", setTimestampType},
	{"min.cleanable.dirty.ratio", "0.5", "Share of a log that must be uncompacted before compaction begins; 0 to 1.", setDirtyRatio},
	{"min.compaction.lag.ms", "0", "How long a record stays uncompacted at least, in milliseconds; at least 0.",
		millis(func(c *Config) *time.Duration { return &c.MinCompactionLag }, 0)},
	{"min.insync.replicas", "1", "Replicas that must be in sync for acks=all to succeed; at least 1.",
		int32Of(func(c *Config) *int32 { return &c.MinInsyncReplicas }, 1)},
	{"moldau.durability", "durable", "When a record counts as written: durable (fsynced on every in-sync replica) or relaxed (in their page caches).", setDurability},
	{"retention.bytes", "-1", "Bytes that a partition keeps before old segments go; -1 is unlimited.", setRetentionBytes},
	{"retention.ms", "604800000", "How long segments are kept after their newest record, in milliseconds; -1 is unlimited.",
		millis(func(c *Config) *time.Duration { return &c.Retention }, -1)},
	{"segment.bytes", "1073741824", "Size at which a new segment begins, in bytes; at least 14.",
		int32Of(func(c *Config) *int32 { return &c.SegmentBytes }, 14)},
	{"segment.ms", "604800000", "Age at which a new segment begins even if it is not full, in milliseconds; at least 1.",
		millis(func(c *Config) *time.Duration { return &c.SegmentAge }, 1)},
}

func setCleanup(c *Config, value string) error {
	c.CleanupDelete, c.CleanupCompact = false, false
	for policy := range strings.SplitSeq(value, ",") {
		switch strings.TrimSpace(policy) {
		case "delete":
			c.CleanupDelete = true
		case "compact":
			c.CleanupCompact = true
		default:
			return fmt.Errorf("%q is neither delete nor compact", policy)
		}
	}
	return nil
}

func setTimestampType(c *Config, value string) error {
	if value != "CreateTime" && value != "LogAppendTime" {
		return fmt.Errorf("%q is neither CreateTime nor LogAppendTime", value)
	}
	c.LogAppendTime = value == "LogAppendTime"
	return nil
}

func setDurability(c *Config, value string) error {
	if value != "durable" && value != "relaxed" {
		return fmt.Errorf("%q is neither durable nor relaxed", value)
	}
	c.Durable = value == "durable"
	return nil
}

func setDirtyRatio(c *Config, value string) error {
	f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(f >= 0 && f <= 1) { // the negation also catches NaN
		return fmt.Errorf("%q is not a number from 0 to 1", value)
	}
	c.MinCleanableDirtyRatio = f
	return nil
}

func setRetentionBytes(c *Config, value string) error {
	n, err := integer(value, math.MinInt64, math.MaxInt64)
	c.RetentionBytes = max(n, -1)
	return err
}

func oneOf(field func(*Config) *string, choices ...string) func(*Config, string) error {
	return func(c *Config, value string) error {
		if !slices.Contains(choices, value) {
			return fmt.Errorf("%q is none of %s", value, strings.Join(choices, ", "))
		}
		*field(c) = value
		return nil
	}
}

func millis(field func(*Config) *time.Duration, least int64) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := integer(value, least, math.MaxInt64)
		*field(c) = time.Duration(min(n, maxTimeMs)) * time.Millisecond
		return err
	}
}

func int32Of(field func(*Config) *int32, least int64) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := integer(value, least, math.MaxInt32)
		*field(c) = int32(n)
		return err
	}
}

func integer(value string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", value)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d is not within %d to %d", n, least, most)
	}
	return n, nil
}
