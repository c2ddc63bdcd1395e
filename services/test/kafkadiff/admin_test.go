//go:build kafkadiff

package kafkadiff

import "github.com/twmb/franz-go/pkg/kmsg"

// transactions are steps about transactions.
var transactions = []step{
	{name: "init without a name", make: initProducer(func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = kmsg.StringPtr("") })},
	{name: "init without a timeout", make: initProducer(func(r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = 0 })},
	{name: "init with a long timeout", make: initProducer(func(r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = 1 << 30 })},
	{name: "init with an id only", from: 3, make: initProducer(func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 5 })},
	{name: "init with an epoch only", from: 3, make: initProducer(func(r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 5 })},
	{name: "init as somebody else", from: 3, make: initProducer(func(r *kmsg.InitProducerIDRequest) { r.ProducerID, r.ProducerEpoch = 987654, 3 })},
	{name: "init", make: initProducer(func(*kmsg.InitProducerIDRequest) {})},
	{name: "add partitions for somebody unknown", to: 3, make: func(*side) kmsg.Request {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = "absent", 1, 0
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "plain", Partitions: []int32{0}}}
		return req
	}},
	{name: "add an unknown partition", to: 3, make: func(s *side) kmsg.Request {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = "ready", 1, 0
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "plain", Partitions: []int32{0, 9}}}
		return req
	}},
	{name: "add offsets for somebody unknown", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.Group = "absent", 1, "g"
		return req
	}},
	{name: "end for somebody unknown", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID = "absent", 1
		return req
	}},
	{name: "end of another producer", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID = "ready", 987654
		return req
	}},
	{name: "offsets of a transaction that is none", make: func(s *side) kmsg.Request {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.TransactionalID, req.Group, req.ProducerID = "absent", "g", 1
		req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "plain", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 0, Offset: 1}}}}
		return req
	}},
	{name: "describe transactions", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{"absent", "ready", ""}
		return req
	}},
	{name: "list transactions of an unknown state", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrListTransactionsRequest()
		req.StateFilters = []string{"Odd", "Ongoing"}
		return req
	}},
	{name: "list transactions by a bad pattern", from: 2, make: func(*side) kmsg.Request {
		req := kmsg.NewPtrListTransactionsRequest()
		req.TransactionalIDPattern = kmsg.StringPtr("(")
		return req
	}},
}

func initProducer(edit func(*kmsg.InitProducerIDRequest)) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr("begun"), 10_000
		edit(req)
		return req
	}
}

// admin are steps about configs, brokers and places.
var admin = []step{
	{name: "configs of the unknown", make: func(*side) kmsg.Request { return describe(2, "absent") }},
	{name: "configs of a bad name", make: func(*side) kmsg.Request { return describe(2, "a/b") }},
	{name: "configs of no name", make: func(*side) kmsg.Request { return describe(2, "") }},
	{name: "configs of another broker", make: func(*side) kmsg.Request { return describe(4, "99") }},
	{name: "configs of a broker that is no number", make: func(*side) kmsg.Request { return describe(4, "one") }},
	{name: "configs of an unknown kind", make: func(*side) kmsg.Request { return describe(99, "x") }},
	{name: "one config of a topic", make: func(*side) kmsg.Request { return describe(2, "plain", "retention.ms") }},
	{name: "another config of a topic", make: func(*side) kmsg.Request {
		return describe(2, "compacted", "cleanup.policy", "max.message.bytes", "no.such")
	}},
	{name: "alter the unknown", make: func(*side) kmsg.Request { return alter(2, "absent", "retention.ms", 0, "1") }},
	{name: "alter an unknown config", make: func(*side) kmsg.Request { return alter(2, "plain", "no.such", 0, "1") }},
	{name: "alter to a bad value", make: func(*side) kmsg.Request { return alter(2, "plain", "retention.ms", 0, "long") }},
	{name: "alter by an unknown operation", make: func(*side) kmsg.Request { return alter(2, "plain", "retention.ms", 9, "1") }},
	{name: "append to what is no list", make: func(*side) kmsg.Request { return alter(2, "plain", "retention.ms", 2, "1") }},
	{name: "append to a list", make: func(*side) kmsg.Request { return alter(2, "plain", "cleanup.policy", 2, "compact") }},
	{name: "alter twice", make: func(*side) kmsg.Request {
		req := alter(2, "plain", "retention.ms", 0, "1")
		req.Resources[0].Configs = append(req.Resources[0].Configs, req.Resources[0].Configs[0])
		return req
	}},
	{name: "alter one resource twice", make: func(*side) kmsg.Request {
		req := alter(2, "plain", "retention.ms", 0, "1")
		req.Resources = append(req.Resources, req.Resources[0])
		return req
	}},
	{name: "alter nothing's value", make: func(*side) kmsg.Request {
		req := alter(2, "plain", "retention.ms", 0, "1")
		req.Resources[0].Configs[0].Value = nil
		return req
	}},
	{name: "alter another broker", make: func(*side) kmsg.Request { return alter(4, "99", "num.partitions", 0, "1") }},
	{name: "alter an unknown kind", make: func(*side) kmsg.Request { return alter(77, "x", "y", 0, "1") }},
	{name: "alter all of the unknown", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.ValidateOnly = true
		req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "absent"}, {ResourceType: 2, ResourceName: "plain"}}
		return req
	}},
	{name: "elect for the unknown", make: elect(0, "absent", 0)},
	{name: "elect for an unknown partition", make: elect(0, "plain", 9)},
	{name: "elect who leads already", make: elect(0, "plain", 0)},
	{name: "elect uncleanly where none is needed", from: 1, make: elect(1, "plain", 0)},
	{name: "elect by an unknown way", from: 1, make: elect(7, "plain", 0)},
	{name: "reassign the unknown", make: reassign("absent", 0, 1)},
	{name: "reassign an unknown partition", make: reassign("plain", 9, 1)},
	{name: "reassign to an unknown broker", make: reassign("plain", 0, 99)},
	{name: "reassign to a broker twice", make: reassign("plain", 0, 1, 1)},
	{name: "cancel a reassignment that is none", make: reassign("plain", 0)},
	{name: "list reassignments", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		req.TimeoutMillis = 1000
		req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "plain", Partitions: []int32{0, 9}}, {Topic: "absent", Partitions: []int32{0}}}
		return req
	}},
	{name: "quotas of an unknown kind", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "odd", MatchType: 2}}
		return req
	}},
	{name: "quotas by an unknown match", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "user", MatchType: 9}}
		return req
	}},
	{name: "quotas of the same kind twice", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "user", MatchType: 2}, {EntityType: "user", MatchType: 2}}
		return req
	}},
	{name: "an unknown quota", make: quota("user", "somebody", "odd_rate", 1)},
	{name: "a quota of an unknown kind", make: quota("odd", "somebody", "producer_byte_rate", 1)},
	{name: "a quota below zero", make: quota("user", "somebody", "producer_byte_rate", -1)},
	{name: "a quota of an address that is none", make: quota("ip", "not an address", "connection_creation_rate", 1)},
	{name: "a quota of nobody", make: quota("user", "", "producer_byte_rate", 1)},
	{name: "an unknown feature", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.ValidateOnly, req.TimeoutMillis = true, 1000
		req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "odd", MaxVersionLevel: 1, UpgradeType: 1}}
		return req
	}},
	{name: "a replica to an unknown folder", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/absent", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "plain", Partitions: []int32{0}}}}}
		return req
	}},
	{name: "unregister an unknown broker", make: func(*side) kmsg.Request {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = 77
		return req
	}},
}

func describe(kind kmsg.ConfigResourceType, name string, configs ...string) kmsg.Request {
	req, r := kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, configs
	req.Resources = append(req.Resources, r)
	req.IncludeSynonyms = true
	return req
}

func alter(kind kmsg.ConfigResourceType, name, config string, op kmsg.IncrementalAlterConfigOp, value string) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = true
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: config, Op: op, Value: &value}}}}
	return req
}

func elect(kind int8, topic string, partition int32) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType, req.TimeoutMillis = kind, 1000
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
		return req
	}
}

func reassign(topic string, partition int32, replicas ...int32) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.TimeoutMillis = 1000
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}}}
		return req
	}
}

func quota(kind, name, key string, value float64) func(*side) kmsg.Request {
	return func(*side) kmsg.Request {
		req := kmsg.NewPtrAlterClientQuotasRequest()
		req.ValidateOnly = true
		req.Entries = []kmsg.AlterClientQuotasRequestEntry{{
			Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: kind, Name: &name}},
			Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: value}},
		}}
		return req
	}
}
