package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/topicconfig"
)

// DescribeTopicPartitions is Metadata in pages, for tools (KIP-966).
//
// Version 0. Topics come by name; no name means all; nothing is created. A
// page has 2,000 partitions at most.
func describeTopicPartitionsAPI() api {
	return api{
		key: 75, name: "DescribeTopicPartitions", max: 0, flexible: 0,
		shape: shape{listOf(always(aString)), always(anInt32), optional(always(aString), always(anInt32))},
		serve: coded(describeTopicPartitions),
	}
}

// maxPagePartitions is max.request.partition.size.limit.
const maxPagePartitions = 2000

func describeTopicPartitions(c *conn, ctx context.Context, req *kmsg.DescribeTopicPartitionsRequest) *kmsg.DescribeTopicPartitionsResponse {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(names) == 0 {
		for _, t := range c.s.allTopics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	from := int32(0)
	if cursor := req.Cursor; cursor != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n < cursor.Topic })
		if len(names) > 0 && names[0] == cursor.Topic {
			from = max(cursor.Partition, 0)
		}
	}
	left := int(max(min(req.ResponsePartitionLimit, maxPagePartitions), 1))
	for _, name := range slices.Compact(names) {
		if left == 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: from}
			break
		}
		out, next := c.s.describePage(name, from, left)
		resp.Topics, left, from = append(resp.Topics, out), left-len(out.Partitions), 0
		if next >= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			break
		}
	}
	return resp
}

// describePage tells of up to most partitions of a topic, and which is next,
// -1 for none.
func (s *Server) describePage(name string, from int32, most int) (kmsg.DescribeTopicPartitionsResponseTopic, int32) {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.AuthorizedOperations = &name, notAsked
	t := s.meta.View().Topics[name]
	if err := topicconfig.ValidateName(name); err != nil {
		out.ErrorCode = codeOf(err)
		return out, -1
	}
	if t == nil {
		out.ErrorCode = kerr.UnknownTopicOrPartition.Code
		return out, -1
	}
	whole := s.metadataOf(t, &kmsg.MetadataRequest{IncludeTopicAuthorizedOperations: true})
	out.TopicID, out.IsInternal, out.AuthorizedOperations = whole.TopicID, whole.IsInternal, whole.AuthorizedOperations
	for _, p := range whole.Partitions[min(int(from), len(whole.Partitions)):] {
		if len(out.Partitions) == most {
			return out, p.Partition
		}
		part := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		part.ErrorCode, part.Partition, part.LeaderID, part.LeaderEpoch = p.ErrorCode, p.Partition, p.Leader, p.LeaderEpoch
		part.Replicas, part.ISR, part.OfflineReplicas = p.Replicas, p.ISR, p.OfflineReplicas
		in := &t.Partitions[p.Partition]
		part.EligibleLeaderReplicas, part.LastKnownELR = notNull(in.ELR), notNull(in.LastKnownELR)
		out.Partitions = append(out.Partitions, part)
	}
	return out, -1
}

// notNull is a list that is empty, not null, where there is nothing.
func notNull(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}
