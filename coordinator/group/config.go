package group

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config shapes a Machine. The names are those of Kafka's broker configs, by
// which the cluster may set them too.
type Config struct {
	// MinSession and MaxSession bound a classic member's session timeout:
	// group.min.session.timeout.ms, group.max.session.timeout.ms.
	MinSession, MaxSession time.Duration
	// InitialDelay is how long an empty classic group waits for more members:
	// group.initial.rebalance.delay.ms.
	InitialDelay time.Duration
	// MaxSize bounds the members of a classic group: group.max.size.
	MaxSize int
	// MaxMetadataBytes bounds the metadata of an offset: offset.metadata.max.bytes.
	MaxMetadataBytes int
	// Retention is how long offsets are kept of a group without members:
	// offsets.retention.minutes.
	Retention time.Duration
	// SweepInterval is how often expired offsets are looked for:
	// offsets.retention.check.interval.ms.
	SweepInterval time.Duration

	// ConsumerSession removes a silent member of a consumer group:
	// group.consumer.session.timeout.ms.
	ConsumerSession time.Duration
	// ConsumerHeartbeat is how often such members are told to beat:
	// group.consumer.heartbeat.interval.ms.
	ConsumerHeartbeat time.Duration
	// ConsumerMaxSize bounds the members of a consumer group:
	// group.consumer.max.size.
	ConsumerMaxSize int
	// Assignors that members of consumer groups may ask for, the default first:
	// group.consumer.assignors.
	Assignors []string
	// Upgrade and Downgrade let groups change their protocol while they have
	// members: group.consumer.migration.policy.
	Upgrade, Downgrade bool
}

// DefaultConfig is Kafka's.
func DefaultConfig() Config {
	return Config{
		MinSession: 6 * time.Second, MaxSession: 30 * time.Minute, InitialDelay: 3 * time.Second, MaxSize: 1<<31 - 1,
		MaxMetadataBytes: 4096, Retention: 7 * 24 * time.Hour, SweepInterval: 10 * time.Minute,
		ConsumerSession: 45 * time.Second, ConsumerHeartbeat: 5 * time.Second, ConsumerMaxSize: 1<<31 - 1,
		Assignors: []string{assignorUniform, assignorRange}, Upgrade: true, Downgrade: true,
	}
}

// with returns c under settings by Kafka's names. What cannot be is as if it
// were not set.
func (c Config) with(settings map[string]string) Config {
	duration := func(to *time.Duration, name string, unit time.Duration) {
		const most = int64(1<<63-1) / int64(time.Hour)
		if n, err := strconv.ParseInt(settings[name], 10, 64); err == nil && n >= 0 && n < most {
			*to = time.Duration(n) * unit
		}
	}
	count := func(to *int, name string) {
		if n, err := strconv.ParseInt(settings[name], 10, 32); err == nil && n > 0 {
			*to = int(n)
		}
	}
	duration(&c.MinSession, "group.min.session.timeout.ms", time.Millisecond)
	duration(&c.MaxSession, "group.max.session.timeout.ms", time.Millisecond)
	duration(&c.InitialDelay, "group.initial.rebalance.delay.ms", time.Millisecond)
	count(&c.MaxSize, "group.max.size")
	count(&c.MaxMetadataBytes, "offset.metadata.max.bytes")
	duration(&c.Retention, "offsets.retention.minutes", time.Minute)
	duration(&c.SweepInterval, "offsets.retention.check.interval.ms", time.Millisecond)
	c.SweepInterval = max(c.SweepInterval, time.Second)
	duration(&c.ConsumerSession, "group.consumer.session.timeout.ms", time.Millisecond)
	duration(&c.ConsumerHeartbeat, "group.consumer.heartbeat.interval.ms", time.Millisecond)
	count(&c.ConsumerMaxSize, "group.consumer.max.size")
	if names := assignorNames(settings["group.consumer.assignors"]); len(names) > 0 {
		c.Assignors = names
	}
	if policy := strings.ToLower(settings["group.consumer.migration.policy"]); policy != "" {
		c.Upgrade = policy == "upgrade" || policy == "bidirectional"
		c.Downgrade = policy == "downgrade" || policy == "bidirectional"
	}
	return c
}

// assignorNames reads a list of assignors. Kafka's broker config names classes;
// what they are called at the end counts.
func assignorNames(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		name = strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "assignor")
		if assignors[name] != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
