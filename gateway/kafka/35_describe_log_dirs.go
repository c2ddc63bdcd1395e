package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// DescribeLogDirs tells the size of each replica, with a folder for each storage
// node.
//
// Versions 1–4. Clients ask every broker, so a gateway shows its own share of
// the nodes alone: those of its process, and those that nobody else shows.
//
// Gaps: the size of the disks is not known (-1). A node that cannot be asked is
// a folder with KAFKA_STORAGE_ERROR.
func describeLogDirsAPI() api {
	return api{
		key: 35, name: "DescribeLogDirs", min: 1, max: 4, flexible: 2,
		shape: shape{listOf(always(aString), list(anInt32))},
		serve: coded(describeLogDirs),
	}
}

func describeLogDirs(c *conn, ctx context.Context, req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	view := c.s.meta.View()
	wanted, ids := wantedPartitions(view, req)
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	b := c.s.brokers()
	for _, node := range nodesOf(view) {
		if b.ofNode(node) != c.s.cfg.NodeID {
			continue
		}
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir, dir.TotalBytes, dir.UsableBytes = logDir(node), -1, -1
		replicas, err := c.s.replicasOf(ctx, node, ids)
		if err != nil {
			dir.ErrorCode = kafkaStorageError
		}
		byTopic := map[string][]kmsg.DescribeLogDirsResponseDirTopicPartition{}
		for _, r := range replicas {
			t := view.TopicsByID[r.Topic]
			if t == nil || !wanted(t.Name, r.Index) {
				continue
			}
			part := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			part.Partition, part.Size = r.Index, r.SizeBytes
			byTopic[t.Name] = append(byTopic[t.Name], part)
		}
		for name, parts := range byTopic {
			out := kmsg.NewDescribeLogDirsResponseDirTopic()
			out.Topic, out.Partitions = name, parts
			dir.Topics = append(dir.Topics, out)
		}
		slices.SortFunc(dir.Topics, func(a, b kmsg.DescribeLogDirsResponseDirTopic) int { return cmp.Compare(a.Topic, b.Topic) })
		resp.Dirs = append(resp.Dirs, dir)
	}
	return resp
}

const kafkaStorageError = 56

// logDir is what clients see the only folder of a storage node as.
func logDir(node int32) string { return fmt.Sprintf("storage-node-%d", node) }

// wantedPartitions tells which partitions are asked for, and the ids of their
// topics; no ids are all.
func wantedPartitions(view *metadataclient.View, req *kmsg.DescribeLogDirsRequest) (wanted func(topic string, index int32) bool, ids []topicid.ID) {
	if req.Topics == nil {
		return func(string, int32) bool { return true }, nil
	}
	parts := map[string][]int32{}
	for _, t := range req.Topics {
		parts[t.Topic] = append(parts[t.Topic], t.Partitions...)
		if known := view.Topics[t.Topic]; known != nil {
			ids = append(ids, known.ID)
		}
	}
	if len(ids) == 0 {
		ids = append(ids, topicid.ID{}) // which no topic has: none rather than all
	}
	return func(topic string, index int32) bool { return slices.Contains(parts[topic], index) }, ids
}

func nodesOf(view *metadataclient.View) (ids []int32) {
	for id := range view.Nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (s *Server) replicasOf(ctx context.Context, node int32, topics []topicid.ID) ([]storageclient.ReplicaState, error) {
	door, err := s.nodes.Node(node)
	if err != nil {
		return nil, err
	}
	return door.DescribeReplicas(ctx, topics)
}
