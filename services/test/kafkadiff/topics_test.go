//go:build kafkadiff

package kafkadiff

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	badNames  = []string{"", ".", "..", "a/b", "a b", strings.Repeat("x", 250), "absent"}
	unknownID = [16]byte{1, 2, 3}
)

// topics are steps about topics and what they hold.
var topics = []step{
	{name: "all", make: func(*side) kmsg.Request { return metadata(nil) }},
	{name: "known", make: func(*side) kmsg.Request { return metadata([]string{"plain"}) }},
	{name: "bad names", make: func(*side) kmsg.Request { return metadata(badNames) }},
	{name: "by id", from: 12, make: func(s *side) kmsg.Request { return metadataByID(s.ids["plain"]) }},
	{name: "by an unknown id", from: 12, make: func(*side) kmsg.Request { return metadataByID(unknownID) }},
	{name: "operations of topics", from: 8, make: func(*side) kmsg.Request {
		req := metadata([]string{"plain"})
		req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = true, true
		return req
	}},
	{name: "create bad names", make: func(*side) kmsg.Request { return create(badNames[:6], 1, 1) }},
	{name: "create what is there", make: func(*side) kmsg.Request { return create([]string{"plain"}, 1, 1) }},
	{name: "create the same twice", make: func(*side) kmsg.Request { return create([]string{"twice", "twice"}, 1, 1) }},
	{name: "create without partitions", make: func(*side) kmsg.Request { return create([]string{"none"}, 0, 1) }},
	{name: "create with -2 partitions", make: func(*side) kmsg.Request { return create([]string{"none"}, -2, 1) }},
	{name: "create with more replicas than brokers", make: func(*side) kmsg.Request { return create([]string{"none"}, 1, 5) }},
	{name: "create without replicas", make: func(*side) kmsg.Request { return create([]string{"none"}, 1, 0) }},
	{name: "create as the defaults say", from: 4, make: func(*side) kmsg.Request { return create([]string{"none"}, -1, -1) }},
	{name: "create with an unknown config", make: func(*side) kmsg.Request { return createWith("none", "no.such", "1") }},
	{name: "create with a bad value", make: func(*side) kmsg.Request { return createWith("none", "retention.ms", "long") }},
	{name: "create with a bad policy", make: func(*side) kmsg.Request { return createWith("none", "cleanup.policy", "burn") }},
	{name: "create with counts and places", make: func(*side) kmsg.Request { return createAt("none", 1, 1, [][]int32{{1}}) }},
	{name: "create at an unknown broker", make: func(*side) kmsg.Request { return createAt("none", -1, -1, [][]int32{{99}}) }},
	{name: "create with a gap in places", make: func(*side) kmsg.Request {
		req := createAt("none", -1, -1, [][]int32{{1}, {1}})
		req.Topics[0].ReplicaAssignment[1].Partition = 2
		return req
	}},
	{name: "create with a replica twice", make: func(*side) kmsg.Request { return createAt("none", -1, -1, [][]int32{{1, 1}}) }},
	{name: "create with uneven replicas", make: func(*side) kmsg.Request { return createAt("none", -1, -1, [][]int32{{1}, {}}) }},
	{name: "delete unknown and bad names", to: 5, make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames, req.TimeoutMillis = badNames, 1000
		return req
	}},
	{name: "delete unknown names", from: 6, make: func(*side) kmsg.Request { return deleteTopics(kmsg.StringPtr("absent"), [16]byte{}) }},
	{name: "delete by an unknown id", from: 6, make: func(*side) kmsg.Request { return deleteTopics(nil, unknownID) }},
	{name: "delete nothing named", from: 6, make: func(*side) kmsg.Request { return deleteTopics(nil, [16]byte{}) }},
	{name: "delete by name and id", from: 6, make: func(s *side) kmsg.Request { return deleteTopics(kmsg.StringPtr("doomed"), s.ids["doomed"]) }},
	{name: "grow to fewer", make: func(*side) kmsg.Request { return grow("plain", 1) }},
	{name: "grow to as many", make: func(*side) kmsg.Request { return grow("plain", 2) }},
	{name: "grow to none", make: func(*side) kmsg.Request { return grow("plain", 0) }},
	{name: "grow the unknown", make: func(*side) kmsg.Request { return grow("absent", 3) }},
	{name: "grow with places for too few", make: func(*side) kmsg.Request { return grow("plain", 4, []int32{1}) }},
	{name: "grow at an unknown broker", make: func(*side) kmsg.Request { return grow("plain", 3, []int32{9}) }},
	{name: "describe partitions", make: func(*side) kmsg.Request { return describePartitions("plain", "absent") }},
	{name: "delete records beyond the end", make: func(*side) kmsg.Request { return deleteRecords("plain", 0, 99) }},
	{name: "delete records below zero", make: func(*side) kmsg.Request { return deleteRecords("plain", 0, -2) }},
	{name: "delete records of the unknown", make: func(*side) kmsg.Request { return deleteRecords("absent", 0, 0) }},
	{name: "delete records of an unknown partition", make: func(*side) kmsg.Request { return deleteRecords("plain", 9, 0) }},
	{name: "delete records of the compacted", make: func(*side) kmsg.Request { return deleteRecords("compacted", 0, 0) }},
}

func metadata(names []string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
	}
	return req
}

func metadataByID(id [16]byte) kmsg.Request {
	req, topic := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
	topic.TopicID = id
	req.Topics = append(req.Topics, topic)
	return req
}

// create only validates: the steps go through all versions.
func create(names []string, partitions int32, replicas int16) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.ValidateOnly, req.TimeoutMillis = true, 1000
	for _, name := range names {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, replicas
		req.Topics = append(req.Topics, topic)
	}
	return req
}

func createWith(name, config, value string) kmsg.Request {
	req := create([]string{name}, 1, 1)
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = config, &value
	req.Topics[0].Configs = append(req.Topics[0].Configs, c)
	return req
}

func createAt(name string, partitions int32, replicas int16, places [][]int32) *kmsg.CreateTopicsRequest {
	req := create([]string{name}, partitions, replicas)
	for i, p := range places {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), p
		req.Topics[0].ReplicaAssignment = append(req.Topics[0].ReplicaAssignment, a)
	}
	return req
}

func deleteTopics(name *string, id [16]byte) kmsg.Request {
	req, topic := kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic, topic.TopicID, req.TimeoutMillis = name, id, 1000
	req.Topics = append(req.Topics, topic)
	return req
}

func grow(name string, count int32, places ...[]int32) kmsg.Request {
	req, topic := kmsg.NewPtrCreatePartitionsRequest(), kmsg.NewCreatePartitionsRequestTopic()
	req.TimeoutMillis, req.ValidateOnly, topic.Topic, topic.Count = 1000, true, name, count
	for _, p := range places {
		a := kmsg.NewCreatePartitionsRequestTopicAssignment()
		a.Replicas = p
		topic.Assignment = append(topic.Assignment, a)
	}
	req.Topics = append(req.Topics, topic)
	return req
}

func describePartitions(names ...string) kmsg.Request {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	for _, name := range names {
		topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
		topic.Topic = name
		req.Topics = append(req.Topics, topic)
	}
	return req
}

func deleteRecords(name string, partition int32, offset int64) kmsg.Request {
	req, topic, p := kmsg.NewPtrDeleteRecordsRequest(), kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	req.TimeoutMillis, topic.Topic, p.Partition, p.Offset = 1000, name, partition, offset
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return req
}
