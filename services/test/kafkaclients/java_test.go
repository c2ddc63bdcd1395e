//go:build kafkaclients

package kafkaclients

import (
	"strings"
	"testing"

	"moldau.dev/services/test/testcluster"
)

// step is one call of a tool and what its answer must hold.
type step struct {
	class string
	args  []string
	want  string
}

// TestJavaToolsManageTheCluster calls the classes behind Kafka's scripts.
func TestJavaToolsManageTheCluster(t *testing.T) {
	c := testcluster.Start(t)
	const topics, configs, groups = "org.apache.kafka.tools.TopicCommand", "kafka.admin.ConfigCommand", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	c.CreateTopic(t, "read", 1, keepForever)
	clients[0].produce(t, c, "read", "none", join(accessLog(t)[:100]))
	clients[0].consume(t, c, "read", 40, "readers")
	for _, s := range []step{
		{topics, []string{"--create", "--topic", "made", "--partitions", "3", "--config", "retention.ms=60000"}, "Created topic made"},
		{topics, []string{"--list"}, "made"},
		{topics, []string{"--alter", "--topic", "made", "--partitions", "5"}, ""},
		{topics, []string{"--describe", "--topic", "made"}, "PartitionCount: 5"},
		{configs, []string{"--entity-type", "topics", "--entity-name", "made", "--alter", "--add-config", "cleanup.policy=[delete,compact]"}, "Completed updating config"},
		{configs, []string{"--entity-type", "topics", "--entity-name", "made", "--describe"}, "cleanup.policy=delete,compact"},
		{configs, []string{"--entity-type", "brokers", "--entity-default", "--alter", "--add-config", "num.partitions=2"}, "Completed updating default config"},
		{configs, []string{"--entity-type", "brokers", "--entity-default", "--describe"}, "num.partitions=2"},
		{configs, []string{"--entity-type", "clients", "--entity-name", "slow", "--alter", "--add-config", "producer_byte_rate=1000000"}, "Completed updating config"},
		{configs, []string{"--entity-type", "clients", "--entity-name", "slow", "--describe"}, "producer_byte_rate=1000000"},
		{groups, []string{"--list"}, "readers"},
		{groups, []string{"--describe", "--group", "readers"}, "60"},
		{groups, []string{"--describe", "--group", "readers", "--state"}, "Empty"},
		{groups, []string{"--reset-offsets", "--group", "readers", "--topic", "read", "--to-offset", "7", "--execute"}, "7"},
		{groups, []string{"--describe", "--group", "readers", "--offsets"}, "93"},
		{groups, []string{"--delete", "--group", "readers"}, "successful"},
		{"org.apache.kafka.tools.GroupsCommand", []string{"--list"}, "GROUP"},
		{"org.apache.kafka.tools.LogDirsCommand", []string{"--describe", "--topic-list", "made"}, `"partition":"made-4"`},
		{"org.apache.kafka.tools.GetOffsetShell", []string{"--topic", "made"}, "made:4:0"},
		{"org.apache.kafka.tools.FeatureCommand", []string{"describe"}, "metadata.version"},
		{"org.apache.kafka.tools.TransactionsCommand", []string{"list"}, "TransactionalId"},
		{"org.apache.kafka.tools.BrokerApiVersionsCommand", nil, "Produce(0): 0 to 13"},
		{topics, []string{"--delete", "--topic", "made"}, ""},
	} {
		if got := java(s.class).run(t, "", append([]string{"--bootstrap-server", c.KafkaAddr()}, s.args...)...); !strings.Contains(got, s.want) {
			t.Errorf("%s %v printed\n%s\nwithout %q", s.class, s.args, got, s.want)
		}
	}
	if got := java(topics).run(t, "", "--bootstrap-server", c.KafkaAddr(), "--list"); strings.Contains(got, "made") {
		t.Errorf("the topic is still there: %s", got)
	}
}

func TestJavaPerformanceToolsRun(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "load", 3, nil)
	produce, consume := java("org.apache.kafka.tools.ProducerPerformance"), java("org.apache.kafka.tools.ConsumerPerformance")
	load := []string{"--bootstrap-server", c.KafkaAddr(), "--topic", "load", "--num-records", "20000", "--record-size", "1024", "--throughput", "-1"}
	for _, more := range [][]string{{"--command-property", "acks=all"}, {"--transactional-id", "load", "--transaction-duration-ms", "200"}} {
		if got := produce.run(t, "", append(load, more...)...); !strings.Contains(got, "20000 records sent") {
			t.Errorf("%v printed %s", more, got)
		}
	}
	got := consume.run(t, "", "--bootstrap-server", c.KafkaAddr(), "--topic", "load", "--num-records", "40000", "--timeout", "60000")
	if !strings.Contains(got, ", 40000, ") {
		t.Errorf("the consumer printed %s", got)
	}
}
