package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterReplicaLogDirs moves replicas between the folders of a broker
// (KIP-113). A storage node has one folder, so a replica is where it is asked to
// be, or that is not possible.
//
// Versions 1–2.
func alterReplicaLogDirsAPI() api {
	return api{
		key: 34, name: "AlterReplicaLogDirs", min: 1, max: 2, flexible: 2,
		shape: shape{listOf(always(aString), listOf(always(aString), list(anInt32)))},
		serve: coded(alterReplicaLogDirs),
	}
}

func alterReplicaLogDirs(c *conn, _ context.Context, req *kmsg.AlterReplicaLogDirsRequest) *kmsg.AlterReplicaLogDirsResponse {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	for _, dir := range req.Dirs {
		for _, t := range dir.Topics {
			out := kmsg.AlterReplicaLogDirsResponseTopic{Topic: t.Topic}
			for _, index := range t.Partitions {
				out.Partitions = append(out.Partitions, kmsg.AlterReplicaLogDirsResponseTopicPartition{
					Partition: index, ErrorCode: c.s.checkDir(dir.Dir, t.Topic, index),
				})
			}
			resp.Topics = append(resp.Topics, out)
		}
	}
	return resp
}

func (s *Server) checkDir(dir, topic string, index int32) int16 {
	view := s.meta.View()
	nodes := nodesOf(view)
	at := slices.IndexFunc(nodes, func(id int32) bool { return logDir(id) == dir })
	if at < 0 {
		return kerr.LogDirNotFound.Code
	}
	t := view.Topics[topic]
	if _, code := partitionOf(t, index); code != 0 {
		return code
	}
	if !slices.Contains(t.Partitions[index].Replicas, nodes[at]) {
		return kerr.ReplicaNotAvailable.Code
	}
	return 0
}
