package kafka_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describe asks for the configs of one resource.
func describe(c *cluster, kind kmsg.ConfigResourceType, name string, only ...string) (map[string]kmsg.DescribeConfigsResponseResourceConfig, int16) {
	c.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms, req.IncludeDocumentation = 4, true, true
	in := kmsg.NewDescribeConfigsRequestResource()
	in.ResourceType, in.ResourceName, in.ConfigNames = kind, name, only
	req.Resources = append(req.Resources, in)
	got := ask[*kmsg.DescribeConfigsResponse](c, req).Resources[0]
	byName := map[string]kmsg.DescribeConfigsResponseResourceConfig{}
	for _, cfg := range got.Configs {
		byName[cfg.Name] = cfg
	}
	return byName, got.ErrorCode
}

func TestItem51DescribeConfigsOfTopics(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 1, map[string]string{"retention.ms": "1000"})
	all, code := describe(c, kmsg.ConfigResourceTypeTopic, "t")
	if code != 0 || len(all) < 15 {
		t.Fatalf("code %d, %d configs", code, len(all))
	}
	set, preset := all["retention.ms"], all["retention.bytes"]
	if *set.Value != "1000" || set.Source != kmsg.ConfigSourceDynamicTopicConfig || set.ConfigType != kmsg.ConfigTypeLong || set.IsDefault ||
		len(set.ConfigSynonyms) != 2 || set.ConfigSynonyms[1].Name != "log.retention.ms" || set.Documentation == nil || *set.Documentation == "" {
		t.Errorf("an override is shown as %+v", set)
	}
	if *preset.Value != "-1" || preset.Source != kmsg.ConfigSourceDefaultConfig || preset.ReadOnly || preset.IsSensitive {
		t.Errorf("a default is shown as %+v", preset)
	}
	if some, _ := describe(c, kmsg.ConfigResourceTypeTopic, "t", "retention.ms", "no.such"); len(some) != 1 {
		t.Errorf("one config by name gives %v", some)
	}
	for name, want := range map[string]int16{"no-such": unknownTopic, "a/b": invalidTopic} {
		if _, code := describe(c, kmsg.ConfigResourceTypeTopic, name); code != want {
			t.Errorf("topic %q: code %d, want %d", name, code, want)
		}
	}
}

func TestItem51BrokerConfigsAreThisBrokersOrTheDefault(t *testing.T) {
	c := newCluster(t)
	own, code := describe(c, kmsg.ConfigResourceTypeBroker, strconv.Itoa(nodeID))
	if code != 0 || *own["node.id"].Value != strconv.Itoa(nodeID) || *own["auto.create.topics.enable"].Value != "true" {
		t.Fatalf("code %d, %v", code, own)
	}
	for name, want := range map[string]int16{"": 0, "8": invalidRequest, "seven": invalidRequest} {
		if _, code := describe(c, kmsg.ConfigResourceTypeBroker, name); code != want {
			t.Errorf("broker %q: code %d, want %d", name, code, want)
		}
	}
}

// operation is one change of an IncrementalAlterConfigs.
type operation struct {
	name string
	op   kmsg.IncrementalAlterConfigOp
	to   *string
}

func alter(c *cluster, kind kmsg.ConfigResourceType, name string, ops ...operation) int16 {
	c.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	in := kmsg.NewIncrementalAlterConfigsRequestResource()
	in.ResourceType, in.ResourceName = kind, name
	for _, o := range ops {
		cfg := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		cfg.Name, cfg.Op, cfg.Value = o.name, o.op, o.to
		in.Configs = append(in.Configs, cfg)
	}
	req.Resources = append(req.Resources, in)
	return ask[*kmsg.IncrementalAlterConfigsResponse](c, req).Resources[0].ErrorCode
}

func TestItem52IncrementalAlterConfigs(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 1, map[string]string{"retention.ms": "1000"})
	text := kmsg.StringPtr
	for _, tc := range []struct {
		about string
		topic string
		ops   []operation
		code  int16
		want  map[string]string // afterwards
	}{
		{"set", "t", []operation{{"retention.bytes", kmsg.IncrementalAlterConfigOpSet, text("5")}}, 0, map[string]string{"retention.ms": "1000", "retention.bytes": "5"}},
		{"delete", "t", []operation{{"retention.bytes", kmsg.IncrementalAlterConfigOpDelete, nil}}, 0, map[string]string{"retention.ms": "1000"}},
		{"append to the default", "t", []operation{{"cleanup.policy", kmsg.IncrementalAlterConfigOpAppend, text("compact")}}, 0, map[string]string{"retention.ms": "1000", "cleanup.policy": "delete,compact"}},
		{"append again", "t", []operation{{"cleanup.policy", kmsg.IncrementalAlterConfigOpAppend, text("compact")}}, 0, map[string]string{"retention.ms": "1000", "cleanup.policy": "delete,compact"}},
		{"subtract", "t", []operation{{"cleanup.policy", kmsg.IncrementalAlterConfigOpSubtract, text("delete")}}, 0, map[string]string{"retention.ms": "1000", "cleanup.policy": "compact"}},
		{"append to what is no list", "t", []operation{{"retention.ms", kmsg.IncrementalAlterConfigOpAppend, text("1")}}, invalidConfig, nil},
		{"no such operation", "t", []operation{{"retention.ms", 9, text("1")}}, invalidRequest, nil},
		{"no value", "t", []operation{{"retention.ms", kmsg.IncrementalAlterConfigOpSet, nil}}, invalidRequest, nil},
		{"unknown", "t", []operation{{"no.such", kmsg.IncrementalAlterConfigOpSet, text("1")}}, invalidConfig, nil},
		{"out of bounds", "t", []operation{{"retention.ms", kmsg.IncrementalAlterConfigOpSet, text("-2")}}, invalidConfig, nil},
		{"one key twice", "t", []operation{{"retention.ms", kmsg.IncrementalAlterConfigOpSet, text("1")}, {"retention.ms", kmsg.IncrementalAlterConfigOpDelete, nil}}, invalidRequest, nil},
		{"no topic", "no-such", nil, unknownTopic, nil},
		{"platform", "__consumer_offsets", nil, policyViolation, nil},
	} {
		before := c.door.View().Topics["t"].Configs
		if code := alter(c, kmsg.ConfigResourceTypeTopic, tc.topic, tc.ops...); code != tc.code {
			t.Errorf("%s: code %d, want %d", tc.about, code, tc.code)
		}
		if tc.want == nil {
			tc.want = before
		}
		if got := c.door.View().Topics["t"].Configs; !equalConfigs(got, tc.want) {
			t.Errorf("%s: overrides %v, want %v", tc.about, got, tc.want)
		}
	}
}

func equalConfigs(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func TestItem52AlterConfigsReplacesTheWholeSet(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 1, map[string]string{"retention.ms": "1000", "segment.ms": "5000"})
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 2
	in := kmsg.NewAlterConfigsRequestResource()
	in.ResourceType, in.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	in.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.bytes", Value: kmsg.StringPtr("9")}}
	req.Resources = append(req.Resources, in)
	if got := ask[*kmsg.AlterConfigsResponse](c, req).Resources[0]; got.ErrorCode != 0 {
		t.Fatalf("got %+v", got)
	}
	if got := c.door.View().Topics["t"].Configs; !equalConfigs(got, map[string]string{"retention.bytes": "9"}) {
		t.Errorf("overrides %v", got)
	}
	req.Resources = append(req.Resources, in)
	if got := ask[*kmsg.AlterConfigsResponse](c, req).Resources; len(got) != 1 || got[0].ErrorCode != invalidRequest {
		t.Errorf("one topic twice: %+v", got)
	}
}

// TestChangesOfOneTopicAtOnceAreAllKept has clients change one config each:
// none may undo another's.
func TestChangesOfOneTopicAtOnceAreAllKept(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 1, nil)
	names := []string{"retention.ms", "retention.bytes", "segment.ms", "segment.bytes", "max.message.bytes", "min.compaction.lag.ms"}
	done := make(chan int16)
	for _, name := range names {
		go func() {
			done <- alter(c, kmsg.ConfigResourceTypeTopic, "t", operation{name, kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr("100000")})
		}()
	}
	for range names {
		if code := <-done; code != 0 {
			t.Errorf("code %d", code)
		}
	}
	for _, name := range names {
		if c.door.View().Topics["t"].Configs[name] != "100000" {
			t.Errorf("%s is lost", name)
		}
	}
}

func TestListConfigResources(t *testing.T) {
	c := newCluster(t)
	c.topic("b", 1, nil)
	c.topic("a", 1, nil)
	list := func(version int16, types ...int8) string {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.Version, req.ResourceTypes = version, types
		resp := ask[*kmsg.ListConfigResourcesResponse](c, req)
		var names []string
		for _, r := range resp.ConfigResources {
			names = append(names, r.Name)
		}
		return strconv.Itoa(int(resp.ErrorCode)) + " " + strings.Join(names, ",")
	}
	for _, tc := range []struct {
		version int16
		types   []int8
		want    string
	}{
		{0, nil, "0 "}, {1, []int8{2}, "0 a,b"}, {1, []int8{4}, "0 7"}, {1, []int8{16}, "0 "}, {1, nil, "0 a,b,7"}, {1, []int8{99}, "35 "},
	} {
		if got := list(tc.version, tc.types...); got != tc.want {
			t.Errorf("version %d, types %v: %q, want %q", tc.version, tc.types, got, tc.want)
		}
	}
}

func TestKadmManagesTopics(t *testing.T) {
	c := newCluster(t)
	adm := c.admin()
	made, err := adm.CreateTopic(t.Context(), 3, 1, map[string]*string{"retention.ms": kadm.StringPtr("60000")}, "managed")
	check(t, err)
	check(t, made.Err)
	set, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.bytes", Value: kadm.StringPtr("1000000")}}, "managed")
	check(t, err)
	check(t, set[0].Err)
	configs, err := adm.DescribeTopicConfigs(t.Context(), "managed")
	check(t, err)
	values := map[string]string{}
	for _, cfg := range configs[0].Configs {
		values[cfg.Key] = cfg.MaybeValue()
	}
	if values["retention.ms"] != "60000" || values["segment.bytes"] != "1000000" {
		t.Errorf("configs %v", values)
	}
	topics, err := adm.ListTopics(t.Context())
	check(t, err)
	if !topics.Has("managed") || len(topics["managed"].Partitions) != 3 {
		t.Errorf("topics %v", topics)
	}
	gone, err := adm.DeleteTopics(t.Context(), "managed")
	check(t, err)
	check(t, gone.Error())
}

func TestTrap10SettingsOfAllBrokersAndOfOne(t *testing.T) {
	c := newCluster(t)
	set := func(name, config, value string, op kmsg.IncrementalAlterConfigOp) int16 {
		return alter(c, kmsg.ConfigResourceTypeBroker, name, operation{config, op, &value})
	}
	const assign, drop = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete
	source := func(config string) string {
		all, code := describe(c, kmsg.ConfigResourceTypeBroker, strconv.Itoa(nodeID))
		if code != 0 {
			t.Fatalf("code %d", code)
		}
		cfg := all[config]
		text := *cfg.Value
		for _, s := range cfg.ConfigSynonyms {
			text += " " + strconv.Itoa(int(s.Source)) + "=" + *s.Value
		}
		return text
	}
	for _, tc := range []struct {
		broker, config, value string
		op                    kmsg.IncrementalAlterConfigOp
		code                  int16
		of, shown             string
	}{
		{"", "num.partitions", "3", assign, 0, "num.partitions", "3 3=3 5=1"},
		{"7", "num.partitions", "4", assign, invalidRequest, "num.partitions", "3 3=3 5=1"},
		{"", "num.partitions", "none", assign, invalidConfig, "num.partitions", "3 3=3 5=1"},
		{"", "num.partitions", "0", assign, invalidConfig, "num.partitions", "3 3=3 5=1"},
		{"", "max.connections", "100", assign, 0, "max.connections", "100 3=100 4=20000 5=2147483647"},
		{"7", "max.connections", "50", assign, 0, "max.connections", "50 2=50 3=100 4=20000 5=2147483647"},
		{"", "max.connections", "", drop, 0, "max.connections", "50 2=50 4=20000 5=2147483647"},
		{"7", "max.connections", "", drop, 0, "max.connections", "20000 4=20000 5=2147483647"},
		{"", "node.id", "9", assign, invalidRequest, "node.id", "7 4=7 5=-1"},
		{"", "no.such", "9", assign, invalidConfig, "node.id", "7 4=7 5=-1"},
		{"8", "max.connections", "9", assign, invalidRequest, "node.id", "7 4=7 5=-1"},
		{"", "group.consumer.assignors", "range", kmsg.IncrementalAlterConfigOpSubtract, 0, "group.consumer.assignors", "uniform 3=uniform 5=uniform,range"},
	} {
		if code := set(tc.broker, tc.config, tc.value, tc.op); code != tc.code {
			t.Errorf("%s of broker %q to %q: code %d, want %d", tc.config, tc.broker, tc.value, code, tc.code)
		}
		if got := source(tc.of); got != tc.shown {
			t.Errorf("after %s of broker %q to %q: %s, want %s", tc.config, tc.broker, tc.value, got, tc.shown)
		}
	}
	all, _ := describe(c, kmsg.ConfigResourceTypeBroker, "")
	if len(all) != 2 || *all["num.partitions"].Value != "3" {
		t.Errorf("of all brokers: %v", all)
	}
	made, err := c.admin().CreateTopic(t.Context(), -1, -1, nil, "of-default-size")
	check(t, err)
	if check(t, made.Err); made.NumPartitions != 3 {
		t.Errorf("a topic has %d partitions", made.NumPartitions)
	}
}

func TestTrap10AutoCreationCanBeSwitched(t *testing.T) {
	c := newCluster(t)
	topic := func(name string) int16 {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.AllowAutoTopicCreation = 9, true
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		return ask[*kmsg.MetadataResponse](c, req).Topics[0].ErrorCode
	}
	if code := topic("a"); code != 0 {
		t.Errorf("code %d", code)
	}
	alter(c, kmsg.ConfigResourceTypeBroker, "", operation{"auto.create.topics.enable", kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr("false")})
	if code := topic("b"); code != unknownTopic {
		t.Errorf("switched off: code %d", code)
	}
	alter(c, kmsg.ConfigResourceTypeBroker, "7", operation{"auto.create.topics.enable", kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr("true")})
	if code := topic("c"); code != 0 {
		t.Errorf("switched on for this broker: code %d", code)
	}
}

func TestB30ConnectionsOfOneAddressAreBounded(t *testing.T) {
	c := newCluster(t)
	alter(c, kmsg.ConfigResourceTypeBroker, "", operation{"max.connections.per.ip", kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr("0")})
	dial(t, c.addr).closed()
}
