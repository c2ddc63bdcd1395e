package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

// DeleteTopics deletes topics by name or, from version 6 on, by id.
//
// Versions 1–6. The platform's topics are refused with POLICY_VIOLATION.
func deleteTopicsAPI() api {
	return api{
		key: 20, name: "DeleteTopics", min: 1, max: 6, flexible: 4,
		shape: shape{
			listOf(always(aString), always(anID)).from(6), list(aString).upTo(5), always(anInt32),
		},
		serve: coded(deleteTopics),
	}
}

// topicKey names a topic by name or by id.
type topicKey struct {
	name string
	id   topicid.ID
}

// String is how a message to the client names it.
func (k topicKey) String() string {
	if k.id.IsZero() {
		return k.name
	}
	return k.id.String()
}

func deleteTopics(c *conn, ctx context.Context, req *kmsg.DeleteTopicsRequest) *kmsg.DeleteTopicsResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	topics := req.Topics
	for i := range req.TopicNames {
		topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &req.TopicNames[i]})
	}
	key := func(i int) topicKey {
		k := topicKey{id: topics[i].TopicID}
		if topics[i].Topic != nil {
			k.name = *topics[i].Topic
		}
		return k
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	keys := counted(len(topics), key)
	for i := range topics {
		k := key(i)
		if keys[k] == told {
			continue
		}
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = topics[i].Topic, topics[i].TopicID
		err := twice(keys, k)
		if err == nil {
			err = c.deleteTopic(ctx, k, req.Version, &out)
		}
		if out.Topic == nil && req.Version < 6 {
			out.Topic = new(string) // not nullable
		}
		out.ErrorCode, out.ErrorMessage = adminCodeOf(err), textOf(err)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) deleteTopic(ctx context.Context, k topicKey, version int16, out *kmsg.DeleteTopicsResponseTopic) error {
	s := c.s
	view := s.meta.View()
	t := view.Topics[k.name]
	switch {
	case k.name != "" && !k.id.IsZero(), version >= 6 && k.name == "" && k.id.IsZero():
		return errcode.New(errcode.InvalidArgument, "a topic is named either by name or by id")
	case !k.id.IsZero():
		if t = view.TopicsByID[k.id]; t == nil {
			return errcode.New(errcode.UnknownTopicID, "no topic has id %s", k.id)
		}
	case t == nil:
		return errcode.New(errcode.UnknownTopic, "no topic is named %q", k.name)
	}
	out.Topic, out.TopicID = kmsg.StringPtr(t.Name), t.ID
	if topicconfig.IsInternal(t.Name) {
		return errcode.New(errcode.PolicyViolation, "%s belongs to the platform", t.Name)
	}
	if err := c.mutate(len(t.Partitions), version >= 5); err != nil {
		return err
	}
	gone, err := s.meta.DeleteTopic(ctx, &metadatav1.DeleteTopicRequest{Name: t.Name, TopicId: t.ID[:]})
	if err != nil {
		return err
	}
	s.follow(ctx, gone.GetRevision(), false)
	return nil
}
