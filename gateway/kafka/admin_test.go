package kafka_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka's codes, as the tests here name them.
const (
	offsetOutOfRange         = 1
	unknownTopic             = 3
	invalidTopic             = 17
	topicExists              = 36
	invalidPartitions        = 37
	invalidReplicationFactor = 38
	invalidAssignment        = 39
	invalidConfig            = 40
	invalidRequest           = 42
	policyViolation          = 44
	unknownTopicID           = 100
)

func (c *cluster) admin() *kadm.Client { return kadm.NewClient(c.client()) }

// creation is one topic of a CreateTopics request.
func creation(name string, partitions int32, replicas int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	return t
}

func TestItem48CreateTopics(t *testing.T) {
	c := newCluster(t)
	c.topic("there", 1, nil)
	withConfig := func(t kmsg.CreateTopicsRequestTopic, name, value string) kmsg.CreateTopicsRequestTopic {
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = name, &value
		t.Configs = append(t.Configs, cfg)
		return t
	}
	assigned := func(t kmsg.CreateTopicsRequestTopic, partitions ...int32) kmsg.CreateTopicsRequestTopic {
		for _, p := range partitions {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = p, []int32{1}
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
		return t
	}
	for name, tc := range map[string]struct {
		topics []kmsg.CreateTopicsRequestTopic
		code   int16
	}{
		"defaults":                {[]kmsg.CreateTopicsRequestTopic{creation("defaults", -1, -1)}, 0},
		"with config":             {[]kmsg.CreateTopicsRequestTopic{withConfig(creation("configured", 2, 1), "retention.ms", "1000")}, 0},
		"assigned":                {[]kmsg.CreateTopicsRequestTopic{assigned(creation("assigned", -1, -1), 1, 0)}, 0},
		"exists":                  {[]kmsg.CreateTopicsRequestTopic{creation("there", 1, 1)}, topicExists},
		"internal":                {[]kmsg.CreateTopicsRequestTopic{creation("__consumer_offsets", 1, 1)}, topicExists},
		"no partitions":           {[]kmsg.CreateTopicsRequestTopic{creation("t", 0, 1)}, invalidPartitions},
		"minus two partitions":    {[]kmsg.CreateTopicsRequestTopic{creation("t", -2, 1)}, invalidPartitions},
		"no replicas":             {[]kmsg.CreateTopicsRequestTopic{creation("t", 1, 0)}, invalidReplicationFactor},
		"too many replicas":       {[]kmsg.CreateTopicsRequestTopic{creation("t", 1, 5)}, invalidReplicationFactor},
		"unknown config":          {[]kmsg.CreateTopicsRequestTopic{withConfig(creation("t", 1, 1), "no.such", "1")}, invalidConfig},
		"bad config":              {[]kmsg.CreateTopicsRequestTopic{withConfig(creation("t", 1, 1), "retention.ms", "soon")}, invalidConfig},
		"assigned and counted":    {[]kmsg.CreateTopicsRequestTopic{assigned(creation("t", 1, -1), 0)}, invalidRequest},
		"assigned with a hole":    {[]kmsg.CreateTopicsRequestTopic{assigned(creation("t", -1, -1), 0, 2)}, invalidAssignment},
		"assigned twice":          {[]kmsg.CreateTopicsRequestTopic{assigned(creation("t", -1, -1), 0, 0)}, invalidAssignment},
		"named twice":             {[]kmsg.CreateTopicsRequestTopic{creation("t", 1, 1), creation("t", 2, 1)}, invalidRequest},
		"no name":                 {[]kmsg.CreateTopicsRequestTopic{creation("", 1, 1)}, invalidTopic},
		"dots":                    {[]kmsg.CreateTopicsRequestTopic{creation("..", 1, 1)}, invalidTopic},
		"long name":               {[]kmsg.CreateTopicsRequestTopic{creation(strings.Repeat("x", 250), 1, 1)}, invalidTopic},
		"a way out of the folder": {[]kmsg.CreateTopicsRequestTopic{creation("../../etc/passwd", 1, 1)}, invalidTopic},
	} {
		for _, version := range []int16{2, 5, 7} {
			req := kmsg.NewPtrCreateTopicsRequest()
			req.Version, req.Topics, req.ValidateOnly = version, tc.topics, true
			resp := ask[*kmsg.CreateTopicsResponse](c, req)
			if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != tc.code || resp.Topics[0].Topic != tc.topics[0].Topic {
				t.Errorf("%s, version %d: %+v, want code %d", name, version, resp.Topics, tc.code)
			}
		}
	}
	if got := c.door.View().Topics; len(got) != 1 {
		t.Errorf("validate_only made topics: %v", got)
	}
}

func TestItem48AnswersTellIdCountsAndConfigs(t *testing.T) {
	c := newCluster(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	topic := creation("told", -1, -1)
	cfg := kmsg.NewCreateTopicsRequestTopicConfig()
	cfg.Name, cfg.Value = "cleanup.policy", kmsg.StringPtr("compact")
	topic.Configs = append(topic.Configs, cfg)
	req.Topics = append(req.Topics, topic)
	got := ask[*kmsg.CreateTopicsResponse](c, req).Topics[0]
	have := c.door.View().Topics["told"]
	if got.ErrorCode != 0 || have == nil || got.TopicID != have.ID || got.NumPartitions != int32(len(have.Partitions)) || got.ReplicationFactor != 1 {
		t.Fatalf("got %+v, the topic is %+v", got, have)
	}
	i := slices.IndexFunc(got.Configs, func(c kmsg.CreateTopicsResponseTopicConfig) bool { return c.Name == "cleanup.policy" })
	if i < 0 || *got.Configs[i].Value != "compact" || got.Configs[i].Source != int8(kmsg.ConfigSourceDynamicTopicConfig) {
		t.Errorf("configs %+v", got.Configs)
	}
	if len(got.Configs) < 10 {
		t.Errorf("%d configs: defaults are told too", len(got.Configs))
	}
}

func TestItem47NamesThatCollideAreRefused(t *testing.T) {
	c := newCluster(t)
	c.topic("a.b", 1, nil)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{creation("a_b", 1, 1)}
	if got := ask[*kmsg.CreateTopicsResponse](c, req).Topics[0]; got.ErrorCode != invalidTopic {
		t.Errorf("a_b beside a.b: %+v", got)
	}
}

func TestItem49DeleteTopicsByNameAndById(t *testing.T) {
	c := newCluster(t)
	byName, byID := c.topic("by-name", 1, nil), c.topic("by-id", 1, nil)
	for _, version := range []int16{1, 5} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TopicNames = version, []string{"by-name", "no-such", "no-such", "__consumer_offsets"}
		if version == 5 {
			c.topic("by-name", 1, nil)
		}
		got := ask[*kmsg.DeleteTopicsResponse](c, req).Topics
		if len(got) != 3 || got[0].ErrorCode != 0 || got[1].ErrorCode != invalidRequest || got[2].ErrorCode == 0 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	name := "by-id"
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: byID}, {TopicID: byName}, {}, {Topic: &name, TopicID: byID}}
	got := ask[*kmsg.DeleteTopicsResponse](c, req).Topics
	if len(got) != 4 || got[0].ErrorCode != 0 || *got[0].Topic != "by-id" || got[1].ErrorCode != unknownTopicID ||
		got[2].ErrorCode != invalidRequest || got[3].ErrorCode != invalidRequest {
		t.Errorf("by id: %+v", got)
	}
	if len(c.door.View().Topics) != 0 {
		t.Errorf("left over: %v", c.door.View().Topics)
	}
	if again := c.topic("by-id", 1, nil); again == byID {
		t.Error("a topic made again has the id of the one before")
	}
}

func TestItem49PartitionsGrowAndNeverShrink(t *testing.T) {
	c := newCluster(t)
	c.topic("grows", 2, nil)
	grow := func(topic string, count int32, assignments ...int32) kmsg.CreatePartitionsRequestTopic {
		in := kmsg.NewCreatePartitionsRequestTopic()
		in.Topic, in.Count = topic, count
		for _, a := range assignments {
			in.Assignment = append(in.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: []int32{a}})
		}
		return in
	}
	for name, tc := range map[string]struct {
		in   []kmsg.CreatePartitionsRequestTopic
		code int16
	}{
		"more":              {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 4)}, 0},
		"fewer":             {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 1)}, invalidPartitions},
		"as many":           {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 2)}, invalidPartitions},
		"unknown":           {[]kmsg.CreatePartitionsRequestTopic{grow("no-such", 4)}, unknownTopic},
		"assigned":          {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 3, 1)}, 0},
		"assigned nowhere":  {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 3, 99)}, invalidAssignment},
		"assigned too many": {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 3, 1, 1)}, invalidAssignment},
		"named twice":       {[]kmsg.CreatePartitionsRequestTopic{grow("grows", 3), grow("grows", 4)}, invalidRequest},
	} {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.Topics, req.ValidateOnly = 3, tc.in, true
		if got := ask[*kmsg.CreatePartitionsResponse](c, req).Topics; len(got) != 1 || got[0].ErrorCode != tc.code {
			t.Errorf("%s: %+v, want code %d", name, got, tc.code)
		}
	}
	resp, err := c.admin().UpdatePartitions(t.Context(), 5, "grows")
	check(t, err)
	check(t, resp.Error())
	if got := len(c.door.View().Topics["grows"].Partitions); got != 5 {
		t.Errorf("%d partitions, want 5", got)
	}
}

func TestItem50DeleteRecords(t *testing.T) {
	c := newCluster(t)
	c.topic("deleted", 1, nil)
	c.topic("compacted", 1, map[string]string{"cleanup.policy": "compact"})
	check(t, c.client(kgo.DefaultProduceTopic("deleted")).ProduceSync(t.Context(), records(10)...).FirstErr())
	for _, tc := range []struct {
		topic     string
		partition int32
		offset    int64
		code      int16
		low       int64
	}{
		{"deleted", 0, 3, 0, 3},
		{"deleted", 0, 11, offsetOutOfRange, -1},
		{"deleted", 0, -2, offsetOutOfRange, -1},
		{"deleted", 0, 1, 0, 3}, // moves only forward
		{"deleted", 0, -1, 0, 10},
		{"deleted", 1, 0, unknownTopic, -1},
		{"no-such", 0, 0, unknownTopic, -1},
		{"compacted", 0, 0, policyViolation, -1},
	} {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Version = 2
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: tc.topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: tc.partition, Offset: tc.offset}}}}
		got := ask[*kmsg.DeleteRecordsResponse](c, req).Topics[0].Partitions[0]
		if got.ErrorCode != tc.code || got.LowWatermark != tc.low || got.Partition != tc.partition {
			t.Errorf("%s-%d before %d: %+v, want code %d and %d", tc.topic, tc.partition, tc.offset, got, tc.code, tc.low)
		}
	}
	offsets, err := c.admin().ListStartOffsets(t.Context(), "deleted")
	check(t, err)
	if o, _ := offsets.Lookup("deleted", 0); o.Offset != 10 {
		t.Errorf("the log starts at %d, want 10", o.Offset)
	}
}

func TestLogDirsShowEveryPartitionOnce(t *testing.T) {
	c := newCluster(t, storageNodes(3))
	c.topic("wide", 6, nil)
	check(t, c.client(kgo.DefaultProduceTopic("wide"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())).ProduceSync(t.Context(), records(60)...).FirstErr())
	dirs, err := c.admin().DescribeAllLogDirs(t.Context(), nil)
	check(t, err)
	seen := map[int32]int{}
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			seen[p.Partition]++
			if p.Topic != "wide" || p.Size <= 0 {
				t.Errorf("%+v", p)
			}
		})
	})
	for i := range int32(6) {
		if seen[i] != 1 {
			t.Errorf("partition %d is there %d times", i, seen[i])
		}
	}
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version, req.Topics = 4, []kmsg.DescribeLogDirsRequestTopic{{Topic: "wide", Partitions: []int32{2}}}
	n := 0
	for _, d := range ask[*kmsg.DescribeLogDirsResponse](c, req).Dirs {
		for _, topic := range d.Topics {
			n += len(topic.Partitions)
		}
	}
	if n != 1 {
		t.Errorf("%d partitions, one was asked for", n)
	}
}

func TestDescribeClusterListsBrokersAndNoControllers(t *testing.T) {
	c := newCluster(t)
	for version := range int16(3) {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = version, 1
		got := ask[*kmsg.DescribeClusterResponse](c, req)
		if got.ErrorCode != 0 || got.ClusterID != c.door.View().ClusterID || got.ControllerID != nodeID || len(got.Brokers) != 1 || got.Brokers[0].NodeID != nodeID {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	for endpoint, want := range map[int8]int16{2: 114, 9: 115} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 1, endpoint
		if got := ask[*kmsg.DescribeClusterResponse](c, req); got.ErrorCode != want {
			t.Errorf("endpoint type %d: code %d, want %d", endpoint, got.ErrorCode, want)
		}
	}
}

func TestDescribeTopicPartitionsComesInPages(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 3, nil)
	c.topic("b", 4, nil)
	var got []string
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 2
	for range 10 {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, req)
		n := 0
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				got, n = append(got, *topic.Topic+string('0'+rune(p.Partition))), n+1
			}
		}
		if n > 2 {
			t.Fatalf("%d partitions in a page of 2", n)
		}
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = new(kmsg.DescribeTopicPartitionsRequestCursor)
		req.Cursor.Topic, req.Cursor.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
	}
	if want := []string{"a0", "a1", "a2", "b0", "b1", "b2", "b3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	req = kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "no-such"}, {Topic: "a/b"}}
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, req)
	if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != invalidTopic || resp.Topics[1].ErrorCode != unknownTopic {
		t.Errorf("got %+v", resp.Topics)
	}
}

func TestItem39OffsetsForLeaderEpochs(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 1, nil)
	check(t, c.client(kgo.DefaultProduceTopic("t")).ProduceSync(t.Context(), records(10)...).FirstErr())
	present := c.door.View().Topics["t"].Partitions[0].LeaderEpoch
	for _, tc := range []struct {
		partition, current, epoch int32
		code                      int16
		wantEpoch                 int32
		end                       int64
	}{
		{0, -1, present, 0, present, 10},
		{0, present, present, 0, present, 10},
		{0, present + 1, present, 75, -1, -1}, // newer than ours
		{0, -1, present + 5, 0, -1, -1},
		{0, -1, -1, 0, -1, -1},
		{7, -1, 0, unknownTopic, -1, -1},
	} {
		for version := int16(2); version <= 4; version++ {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.Version = version
			part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			part.Partition, part.CurrentLeaderEpoch, part.LeaderEpoch = tc.partition, tc.current, tc.epoch
			req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{part}}}
			got := ask[*kmsg.OffsetForLeaderEpochResponse](c, req).Topics[0].Partitions[0]
			if got.ErrorCode != tc.code || got.LeaderEpoch != tc.wantEpoch || got.EndOffset != tc.end {
				t.Errorf("version %d, %+v: %+v", version, tc, got)
			}
		}
	}
}

func TestItem32DescribeProducers(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 2, nil)
	check(t, c.client(kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(t.Context(), records(10)...).FirstErr())
	got, err := c.admin().DescribeProducers(t.Context(), kadm.TopicsSet{"t": {0: {}, 1: {}}})
	check(t, err)
	used, unused := got["t"].Partitions[0], got["t"].Partitions[1]
	if used.Err != nil || len(used.ActiveProducers) != 1 || len(unused.ActiveProducers) != 0 {
		t.Fatalf("got %+v and %+v", used, unused)
	}
	for _, p := range used.ActiveProducers {
		if p.LastSequence != 9 || p.CurrentTxnStartOffset != -1 || p.CoordinatorEpoch != -1 || p.LastTimestamp <= 0 {
			t.Errorf("got %+v", p)
		}
	}
}
