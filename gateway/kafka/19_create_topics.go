package kafka

import (
	"context"

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
// Assignments name storage nodes, which are the replicas that Metadata shows.
//
// Gaps: topic configs that nothing acts on are
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
			err = c.createTopic(ctx, in, req, &out)
		}
		out.ErrorCode, out.ErrorMessage = adminCodeOf(err), textOf(err)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) createTopic(ctx context.Context, in *kmsg.CreateTopicsRequestTopic, req *kmsg.CreateTopicsRequest, out *kmsg.CreateTopicsResponseTopic) error {
	s, validateOnly := c.s, req.ValidateOnly
	if err := topicconfig.ValidateName(in.Topic); err != nil {
		return err
	}
	if topicconfig.IsInternal(in.Topic) {
		return errcode.New(errcode.TopicAlreadyExists, "topic %q belongs to the platform", in.Topic)
	}
	ask := &metadatav1.CreateTopicRequest{Name: in.Topic, ValidateOnly: validateOnly}
	var err error
	if len(in.ReplicaAssignment) > 0 {
		err = assign(in, ask)
	} else {
		err = count(in, ask)
	}
	if err != nil {
		return err
	}
	if ask.Configs, err = newConfigs(in.Configs); err != nil {
		return err
	}
	if !validateOnly {
		if err := c.mutate(max(int(ask.PartitionCount), len(ask.Assignment), 1), req.Version >= 6); err != nil {
			return err
		}
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
	out.NumPartitions = int32(len(t.GetPartitions()))
	for _, p := range t.GetPartitions() {
		out.ReplicationFactor = int16(len(p.GetReplicas()))
	}
	for _, e := range topicconfig.Effective(t.GetConfigs()) {
		cfg := kmsg.NewCreateTopicsResponseTopicConfig()
		cfg.Name, cfg.Value, cfg.Source = e.Name, kmsg.StringPtr(e.Value), int8(sourceOf(e))
		out.Configs = append(out.Configs, cfg)
	}
	return nil
}

// count sets how many partitions and replicas are asked for, 0 for the default.
func count(in *kmsg.CreateTopicsRequestTopic, ask *metadatav1.CreateTopicRequest) error {
	if n := in.NumPartitions; n == 0 || n < -1 {
		return errcode.New(errcode.InvalidPartitions, "%d partitions, at least 1 is needed, or -1 for the default", n)
	}
	if n := in.ReplicationFactor; n == 0 || n < -1 {
		return errcode.New(errcode.InvalidReplicationFactor, "%d replicas, at least 1 is needed, or -1 for the default", n)
	}
	ask.PartitionCount, ask.ReplicationFactor = max(in.NumPartitions, 0), int32(max(in.ReplicationFactor, 0))
	return nil
}

// assign sets which nodes each partition is asked to be on.
func assign(in *kmsg.CreateTopicsRequestTopic, ask *metadatav1.CreateTopicRequest) error {
	if in.NumPartitions != -1 || in.ReplicationFactor != -1 {
		return errcode.New(errcode.InvalidArgument, "an assignment and a number of partitions or replicas exclude each other")
	}
	ask.Assignment = make([]*metadatav1.ReplicaList, len(in.ReplicaAssignment))
	for _, a := range in.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(ask.Assignment) || ask.Assignment[a.Partition] != nil {
			return errcode.New(errcode.InvalidReplicaAssignment, "the partitions assigned are not 0 to %d, each once", len(ask.Assignment)-1)
		}
		ask.Assignment[a.Partition] = &metadatav1.ReplicaList{Replicas: a.Replicas}
	}
	return nil
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
