package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// CreatePartitions grows topics.
//
// Versions 0–3. Only up: INVALID_PARTITIONS else.
func createPartitionsAPI() api {
	return api{
		key: 37, name: "CreatePartitions", max: 3, flexible: 2,
		shape: shape{
			listOf(always(aString), always(anInt32), listOf(list(anInt32))), always(anInt32), always(aBool),
		},
		serve: coded(createPartitions),
	}
}

func createPartitions(c *conn, ctx context.Context, req *kmsg.CreatePartitionsRequest) *kmsg.CreatePartitionsResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreatePartitionsResponse()
	names := counted(len(req.Topics), func(i int) string { return req.Topics[i].Topic })
	for i := range req.Topics {
		in := &req.Topics[i]
		if names[in.Topic] == told {
			continue
		}
		err := twice(names, in.Topic)
		if err == nil {
			err = c.growTopic(ctx, in, req)
		}
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic, out.ErrorCode, out.ErrorMessage = in.Topic, adminCodeOf(err), textOf(err)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) growTopic(ctx context.Context, in *kmsg.CreatePartitionsRequestTopic, req *kmsg.CreatePartitionsRequest) error {
	s, validateOnly := c.s, req.ValidateOnly
	t := s.meta.View().Topics[in.Topic]
	if t == nil {
		return errcode.New(errcode.UnknownTopic, "no topic is named %q", in.Topic)
	}
	if topicconfig.IsInternal(t.Name) {
		return errcode.New(errcode.PolicyViolation, "%s belongs to the platform", t.Name)
	}
	more := int(in.Count) - len(t.Partitions)
	if more <= 0 {
		return errcode.New(errcode.InvalidPartitions, "%s has %d partitions, %d are not more", t.Name, len(t.Partitions), in.Count)
	}
	if in.Assignment != nil && len(in.Assignment) != more {
		return errcode.New(errcode.InvalidReplicaAssignment, "%d partitions are added, %d are assigned", more, len(in.Assignment))
	}
	ask := &metadatav1.AddPartitionsRequest{Name: t.Name, PartitionCount: in.Count, ValidateOnly: validateOnly}
	for _, a := range in.Assignment {
		ask.Assignment = append(ask.Assignment, &metadatav1.ReplicaList{Replicas: a.Replicas})
	}
	if !validateOnly {
		if err := c.mutate(more, req.Version >= 3); err != nil {
			return err
		}
	}
	grown, err := s.meta.AddPartitions(ctx, ask)
	if err != nil {
		return err
	}
	s.follow(ctx, grown.GetRevision(), validateOnly)
	return nil
}
