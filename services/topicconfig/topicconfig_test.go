package topicconfig

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.dev/services/errcode"
)

func TestDefaultsAreKafkas(t *testing.T) {
	c := Default()
	if !c.CleanupDelete || c.CleanupCompact || c.CompressionType != "producer" || c.LogAppendTime || !c.Durable {
		t.Errorf("words: %+v", c)
	}
	if c.Retention != 7*24*time.Hour || c.DeleteRetention != 24*time.Hour || c.TimestampAfterMax != time.Hour || c.FileDeleteDelay != time.Minute {
		t.Errorf("times: %+v", c)
	}
	if c.MaxMessageBytes != 1048588 || c.SegmentBytes != 1<<30 || c.RetentionBytes != -1 || c.MinInsyncReplicas != 1 {
		t.Errorf("sizes: %+v", c)
	}
	if c.MaxCompactionLag < 200*365*24*time.Hour {
		t.Errorf("max.compaction.lag.ms overflowed to %s", c.MaxCompactionLag)
	}
}

func TestTableIsSortedAndDocumented(t *testing.T) {
	if !slices.IsSortedFunc(definitions, func(a, b Definition) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the table is not by name")
	}
	for _, d := range Definitions() {
		if len(d.Documentation) < 20 {
			t.Errorf("%s has no documentation", d.Name)
		}
		if strings.HasSuffix(d.Name, ".ms") && !strings.Contains(d.Documentation, "milliseconds") {
			t.Errorf("%s does not say its unit", d.Name)
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, value string
		ok          bool
		holds       func(Config) bool
	}{
		{"cleanup.policy", "compact", true, func(c Config) bool { return c.CleanupCompact && !c.CleanupDelete }},
		{"cleanup.policy", "compact, delete", true, func(c Config) bool { return c.CleanupCompact && c.CleanupDelete }},
		{"cleanup.policy", "shred", false, nil},
		{"cleanup.policy", "", false, nil},
		{"compression.type", "zstd", true, func(c Config) bool { return c.CompressionType == "zstd" }},
		{"compression.type", "brotli", false, nil},
		{"retention.ms", "-1", true, func(c Config) bool { return c.Retention < 0 }},
		{"retention.ms", "-2", false, nil},
		{"retention.ms", "9223372036854775807", true, func(c Config) bool { return c.Retention > 0 }},
		{"retention.ms", "9223372036854775808", false, nil},
		{"retention.ms", "a week", false, nil},
		{"retention.bytes", "-1", true, func(c Config) bool { return c.RetentionBytes == -1 }},
		{"segment.bytes", "13", false, nil},
		{"segment.bytes", "2147483648", false, nil},
		{"segment.bytes", "14", true, func(c Config) bool { return c.SegmentBytes == 14 }},
		{"min.insync.replicas", "0", false, nil},
		{"min.cleanable.dirty.ratio", "NaN", false, nil},
		{"min.cleanable.dirty.ratio", "1", true, func(c Config) bool { return c.MinCleanableDirtyRatio == 1 }},
		{"message.timestamp.type", "LogAppendTime", true, func(c Config) bool { return c.LogAppendTime }},
		{"moldau.durability", "relaxed", true, func(c Config) bool { return !c.Durable }},
		{"moldau.durability", "maybe", false, nil},
	}
	for _, tt := range tests {
		c, err := Parse(map[string]string{tt.name: tt.value})
		if tt.ok != (err == nil) || tt.ok && !tt.holds(c) {
			t.Errorf("Parse(%s=%s) = %+v, %v", tt.name, tt.value, c, err)
		}
		if e, _ := errors.AsType[*errcode.Error](err); err != nil && (e.Reason != errcode.InvalidConfig || e.Field != "configs."+tt.name) {
			t.Errorf("Parse(%s=%s) blames %+v", tt.name, tt.value, e)
		}
	}
}

func TestLagsMustNotCross(t *testing.T) {
	if _, err := Parse(map[string]string{"min.compaction.lag.ms": "2", "max.compaction.lag.ms": "1"}); !errcode.Is(err, errcode.InvalidConfig) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownConfigSuggestsTheNearest(t *testing.T) {
	_, err := Parse(map[string]string{"retention.msec": "1"})
	if e := errcode.Of(err); e.Field != "configs.retention.msec" || e.Hint != "Did you mean retention.ms?" {
		t.Errorf("got %+v", e)
	}
	_, err = Parse(map[string]string{"zzzzzzzzzzzzzzzz": "1"})
	if e := errcode.Of(err); e.Hint != "" {
		t.Errorf("far-fetched suggestion %q", e.Hint)
	}
}

func TestEffectiveShowsOverrides(t *testing.T) {
	entries := Effective(map[string]string{"retention.ms": "1"})
	if len(entries) != len(definitions) {
		t.Fatalf("%d entries", len(entries))
	}
	for _, e := range entries {
		want := e.Default
		if e.Name == "retention.ms" {
			want = "1"
		}
		if e.Value != want || e.Overridden != (e.Name == "retention.ms") {
			t.Errorf("%+v", e)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "a.b_c-D9": true, "...": true, "__consumer_offsets": true, strings.Repeat("x", 249): true,
		"": false, ".": false, "..": false, "a/b": false, "a b": false, "ä": false, "a\x00": false, strings.Repeat("x", 250): false,
	} {
		if err := ValidateName(name); (err == nil) != ok || !ok && !errcode.Is(err, errcode.InvalidTopicName) {
			t.Errorf("ValidateName(%q) = %v", name, err)
		}
	}
	if CollisionKey("a.b") != CollisionKey("a_b") || CollisionKey("a-b") == CollisionKey("a_b") {
		t.Error("collisions are not Kafka's")
	}
	if !IsInternal("__share_group_state") || IsInternal("__mine") {
		t.Error("internal topics are not Kafka's")
	}
}
