package kafka

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

// Metadata tells brokers, topics and leaders.
//
// Versions 0–13. Version 0 lists all topics for an empty list, later ones for
// null; ids come with 10, and from 12 on topics can be asked for by id. Brokers
// are the gateways that live; the leader of a partition is the one that shares
// the leader's process, else one of them. Replicas are storage nodes. A topic
// is created, where client and settings allow that, before the answer, so no
// client has to ask again.
func metadataAPI() api {
	return api{
		key: 3, name: "Metadata", max: 13, flexible: 9,
		shape: shape{
			listOf(since(10, anID), always(aString)), since(4, aBool), between(8, 10, aBool), since(8, aBool),
		},
		serve: coded(metadata),
	}
}

const (
	// notAsked stands in place of authorized operations (KIP-430).
	notAsked = math.MinInt32
	// topicOperations and clusterOperations are all that there are, as bits of
	// Kafka's AclOperation: nothing is denied yet.
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	// maxAutoCreate bounds the topics that one request creates.
	maxAutoCreate = 100
)

func metadata(c *conn, ctx context.Context, req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	s := c.s
	resp := kmsg.NewPtrMetadataResponse()
	resp.AuthorizedOperations = notAsked
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		for _, t := range s.allTopics() {
			resp.Topics = append(resp.Topics, s.metadataOf(t, req))
		}
	} else {
		resp.Topics = s.metadataOfNamed(ctx, req)
	}
	b := s.brokers()
	for i := range b.live {
		out := kmsg.NewMetadataResponseBroker()
		out.NodeID, out.Host, out.Port, out.Rack = b.live[i].id, b.live[i].host, b.live[i].port, nullable(b.live[i].rack)
		resp.Brokers = append(resp.Brokers, out)
	}
	resp.ControllerID, resp.ClusterID = b.controller(), kmsg.StringPtr(b.view.ClusterID)
	return resp
}

// allTopics returns the topics of the present view, by name.
func (s *Server) allTopics() []*metadataclient.Topic {
	view := s.meta.View()
	all := make([]*metadataclient.Topic, 0, len(view.Topics))
	for _, t := range view.Topics {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *metadataclient.Topic) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// metadataOfNamed answers for topics by name or id, each once, as asked.
func (s *Server) metadataOfNamed(ctx context.Context, req *kmsg.MetadataRequest) (out []kmsg.MetadataResponseTopic) {
	create := maxAutoCreate
	if !s.limits().autoCreate || req.Version >= 4 && !req.AllowAutoTopicCreation {
		create = 0
	}
	type key struct {
		name string
		id   topicid.ID
	}
	seen := make(map[key]bool, len(req.Topics))
	for i := range req.Topics {
		in := &req.Topics[i]
		k := key{id: in.TopicID}
		if in.Topic != nil {
			k.name = *in.Topic
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		out = append(out, s.metadataOfOne(ctx, req, in, &create))
	}
	return out
}

func (s *Server) metadataOfOne(ctx context.Context, req *kmsg.MetadataRequest, in *kmsg.MetadataRequestTopic, create *int) kmsg.MetadataResponseTopic {
	view := s.meta.View()
	failed := func(code int16) kmsg.MetadataResponseTopic {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.TopicID, t.ErrorCode, t.AuthorizedOperations = in.Topic, in.TopicID, code, notAsked
		if t.Topic == nil && req.Version < 12 {
			t.Topic = new(string) // not nullable
		}
		return t
	}
	id := topicid.ID(in.TopicID)
	switch {
	case !id.IsZero() && req.Version < 12:
		return failed(kerr.InvalidRequest.Code)
	case !id.IsZero():
		if t := view.TopicsByID[id]; t != nil {
			return s.metadataOf(t, req)
		}
		return failed(kerr.UnknownTopicID.Code)
	case in.Topic == nil:
		return failed(kerr.InvalidRequest.Code)
	}
	name := *in.Topic
	if t := view.Topics[name]; t != nil {
		return s.metadataOf(t, req)
	}
	if err := topicconfig.ValidateName(name); err != nil {
		return failed(codeOf(err))
	}
	if *create == 0 || topicconfig.IsInternal(name) {
		return failed(kerr.UnknownTopicOrPartition.Code)
	}
	*create--
	t, err := s.autoCreate(ctx, name)
	if err != nil {
		return failed(codeOf(err))
	}
	return s.metadataOf(t, req)
}

// autoCreate creates a topic with all defaults, or finds that someone did.
func (s *Server) autoCreate(ctx context.Context, name string) (*metadataclient.Topic, error) {
	made, err := s.meta.CreateTopic(ctx, &metadatav1.CreateTopicRequest{Name: name})
	if err != nil && !errcode.Is(err, errcode.TopicAlreadyExists) {
		return nil, err
	}
	for {
		changed := s.meta.Changed()
		view := s.meta.View()
		if t := view.Topics[name]; t != nil {
			return t, nil
		}
		if made != nil && view.Revision >= made.GetRevision() { // created, and deleted again
			return nil, errcode.New(errcode.UnknownTopic, "topic %q is gone again", name)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errcode.Of(ctx.Err())
		}
	}
}

func (s *Server) metadataOf(t *metadataclient.Topic, req *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = kmsg.StringPtr(t.Name), t.ID, topicconfig.IsInternal(t.Name)
	out.AuthorizedOperations = notAsked
	if req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = topicOperations
	}
	b := s.brokers()
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		in, p := &t.Partitions[i], &out.Partitions[i]
		p.Default()
		p.Partition, p.Leader, p.LeaderEpoch = int32(i), b.leader(t, int32(i)), in.LeaderEpoch
		p.Replicas, p.ISR, p.OfflineReplicas = in.Replicas, in.ISR, b.offline(in.Replicas)
		if p.Leader < 0 {
			p.ErrorCode = kerr.LeaderNotAvailable.Code
		}
	}
	return out
}

// nullable is a string that is null where it is empty.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
