package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

// CreateTopics creates topics; each answer waits for the live gateways.
//
// Versions 2–7. -1 takes the default number of partitions or replicas
// (KIP-464); an assignment and counts exclude each other; a name twice fails
// both (KIP-4). Configs and counts are told from version 5 on (KIP-525), the
// id from 7. Platform topics count as existing.
//
// Gaps: an assignment may name this gateway alone, the one broker that clients
// see; metadata places the replicas. Topic configs that nothing acts on are
// refused as unknown: flush.*, preallocate, remote storage, throttled replicas
// and unclean elections.
func createTopicsAPI() api {
	return api{
		key: 19, name: "CreateTopics", min: 2, max: 7, flexible: 5,
		shape: shape{
			listOf(
				always(aString), always(anInt32), always(anInt16),
				listOf(always(anInt32), list(anInt32)),
				listOf(always(aString), always(aString)),
			),
			always(anInt32), always(aBool),
		},
		serve: coded(createTopics),
	}
}

func createTopics(c *conn, ctx context.Context, req *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreateTopicsResponse()
	names := counted(len(req.Topics), func(i int) string { return req.Topics[i].Topic })
	for i := range req.Topics {
		in := &req.Topics[i]
		if names[in.Topic] == told {
			continue
		}
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic, out.NumPartitions, out.ReplicationFactor = in.Topic, -1, -1
		err := twice(names, in.Topic)
		if err == nil {
			err = c.s.createTopic(ctx, in, req.ValidateOnly, &out)
		}
		out.ErrorCode, out.ErrorMessage = adminCodeOf(err), textOf(err)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (s *Server) createTopic(ctx context.Context, in *kmsg.CreateTopicsRequestTopic, validateOnly bool, out *kmsg.CreateTopicsResponseTopic) error {
	if err := topicconfig.ValidateName(in.Topic); err != nil {
		return err
	}
	if topicconfig.IsInternal(in.Topic) {
		return errcode.New(errcode.TopicAlreadyExists, "topic %q belongs to the platform", in.Topic)
	}
	ask := &metadatav1.CreateTopicRequest{Name: in.Topic, ValidateOnly: validateOnly}
	var err error
	if ask.PartitionCount, ask.ReplicationFactor, err = s.counts(in); err != nil {
		return err
	}
	if ask.Configs, err = newConfigs(in.Configs); err != nil {
		return err
	}
	made, err := s.meta.CreateTopic(ctx, ask)
	if err != nil {
		return err
	}
	s.follow(ctx, made.GetRevision(), validateOnly)
	t := made.GetTopic()
	if id, err := topicid.FromBytes(t.GetTopicId()); err == nil && !validateOnly {
		out.TopicID = id
	}
	out.NumPartitions, out.ReplicationFactor = int32(len(t.GetPartitions())), 1
	for _, e := range topicconfig.Effective(t.GetConfigs()) {
		cfg := kmsg.NewCreateTopicsResponseTopicConfig()
		cfg.Name, cfg.Value, cfg.Source = e.Name, kmsg.StringPtr(e.Value), int8(sourceOf(e))
		out.Configs = append(out.Configs, cfg)
	}
	return nil
}

// counts are how many partitions and replicas are asked for, 0 for the default.
func (s *Server) counts(in *kmsg.CreateTopicsRequestTopic) (partitions, replicas int32, err error) {
	if len(in.ReplicaAssignment) > 0 {
		return s.assigned(in)
	}
	partitions, replicas = in.NumPartitions, int32(in.ReplicationFactor)
	if partitions == 0 || partitions < -1 {
		return 0, 0, errcode.New(errcode.InvalidPartitions, "%d partitions, at least 1 is needed, or -1 for the default", partitions)
	}
	if replicas == 0 || replicas < -1 {
		return 0, 0, errcode.New(errcode.InvalidReplicationFactor, "%d replicas, at least 1 is needed, or -1 for the default", replicas)
	}
	return max(partitions, 0), max(replicas, 0), nil
}

// assigned counts an assignment that names brokers.
func (s *Server) assigned(in *kmsg.CreateTopicsRequestTopic) (partitions, replicas int32, err error) {
	if in.NumPartitions != -1 || in.ReplicationFactor != -1 {
		return 0, 0, errcode.New(errcode.InvalidArgument, "an assignment and a number of partitions or replicas exclude each other")
	}
	seen := make([]bool, len(in.ReplicaAssignment))
	for _, a := range in.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(seen) || seen[a.Partition] {
			return 0, 0, errcode.New(errcode.InvalidReplicaAssignment, "the partitions assigned are not 0 to %d, each once", len(seen)-1)
		}
		seen[a.Partition] = true
		if err := s.checkReplicas(a.Replicas); err != nil {
			return 0, 0, err
		}
	}
	return int32(len(seen)), 1, nil
}

// checkReplicas takes the one assignment that clients can know of.
func (s *Server) checkReplicas(replicas []int32) error {
	if slices.Equal(replicas, []int32{s.cfg.NodeID}) {
		return nil
	}
	return errcode.New(errcode.InvalidReplicaAssignment, "brokers %v: the only one is %d", replicas, s.cfg.NodeID)
}

func newConfigs(in []kmsg.CreateTopicsRequestTopicConfig) (map[string]string, error) {
	configs := make(map[string]string, len(in))
	for _, c := range in {
		if c.Value == nil {
			return nil, errcode.New(errcode.InvalidConfig, "config %s has no value", c.Name)
		}
		configs[c.Name] = *c.Value
	}
	return configs, nil
}
