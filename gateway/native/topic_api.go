package native

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
	maxConfigs      = 1000
	maxPartitions   = 100_000
)

// CreateTopic creates a topic and answers once every live gateway knows it.
func (s *Server) CreateTopic(ctx context.Context, req *moldauv1.CreateTopicRequest) (*moldauv1.CreateTopicResponse, error) {
	if err := topicconfig.ValidateName(req.GetName()); err != nil {
		return nil, errcode.Of(err).WithField("name")
	}
	if n := req.GetPartitionCount(); n < 0 || n > maxPartitions {
		return nil, errcode.New(errcode.InvalidPartitions, "%d partitions, 1 to %d are allowed", n, maxPartitions).WithField("partition_count")
	}
	if n := req.GetReplicationFactor(); n < 0 {
		return nil, errcode.New(errcode.InvalidReplicationFactor, "%d replicas, at least 1 is needed", n).WithField("replication_factor")
	}
	if err := mayChange(req.GetName()); err != nil {
		return nil, err
	}
	if len(req.GetConfigs()) > maxConfigs {
		return nil, invalid("configs", "%d configs, at most %d are allowed", len(req.GetConfigs()), maxConfigs)
	}
	resp, err := s.meta.CreateTopic(ctx, &metadatav1.CreateTopicRequest{
		Name: req.GetName(), PartitionCount: req.GetPartitionCount(), ReplicationFactor: req.GetReplicationFactor(),
		Configs: req.GetConfigs(), ValidateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	t, err := s.changed(ctx, resp.GetTopic(), resp.GetRevision(), req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	return &moldauv1.CreateTopicResponse{Topic: t, Origin: s.originAt(resp.GetRevision())}, nil
}

// GetTopic shows one topic with its configs and partitions.
func (s *Server) GetTopic(ctx context.Context, req *moldauv1.GetTopicRequest) (*moldauv1.GetTopicResponse, error) {
	if err := s.reach(ctx, req.GetMinRevision()); err != nil {
		return nil, err
	}
	t, err := s.topic(req.GetName(), "name")
	if err != nil {
		return nil, err
	}
	return &moldauv1.GetTopicResponse{Topic: showTopic(t, true), Origin: s.origin()}, nil
}

// ListTopics lists topics by name, in pages.
func (s *Server) ListTopics(ctx context.Context, req *moldauv1.ListTopicsRequest) (*moldauv1.ListTopicsResponse, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	if size < 0 || size > maxPageSize {
		return nil, invalid("page_size", "%d is not within 1 to %d", size, maxPageSize)
	}
	after, err := readPageToken(req.GetPageToken(), req.GetPrefix())
	if err != nil {
		return nil, err
	}
	if err := s.reach(ctx, req.GetMinRevision()); err != nil {
		return nil, err
	}
	all := s.sortedNames()
	resp := &moldauv1.ListTopicsResponse{Origin: &moldauv1.Origin{ClusterId: all.view.ClusterID, Revision: all.view.Revision}}
	from, found := slices.BinarySearch(all.names, max(after, req.GetPrefix()))
	if found && all.names[from] == after {
		from++
	}
	for _, name := range all.names[from:] {
		if !strings.HasPrefix(name, req.GetPrefix()) {
			break
		}
		if topicconfig.IsInternal(name) && !req.GetIncludeInternal() {
			continue
		}
		if len(resp.Topics) == size {
			resp.NextPageToken = pageToken(resp.Topics[size-1].GetName(), req.GetPrefix())
			break
		}
		resp.Topics = append(resp.Topics, showTopic(all.view.Topics[name], false))
	}
	return resp, nil
}

// A page token is the name before the page and the prefix that it was asked
// with: any gateway can go on from it, at any revision.
func pageToken(name, prefix string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(name + "/" + prefix)) // no name has a slash
}

func readPageToken(token, prefix string) (after string, err error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	name, with, ok := strings.Cut(string(b), "/")
	if err != nil || !ok || topicconfig.ValidateName(name) != nil || with != prefix {
		return "", invalid("page_token", "the token is not of a page of this listing")
	}
	return name, nil
}

// UpdateTopic changes a topic's configs.
func (s *Server) UpdateTopic(ctx context.Context, req *moldauv1.UpdateTopicRequest) (*moldauv1.UpdateTopicResponse, error) {
	if _, err := s.topic(req.GetName(), "name"); err != nil {
		return nil, err
	}
	if err := mayChange(req.GetName()); err != nil {
		return nil, err
	}
	set, reset, err := configChanges(req)
	if err != nil {
		return nil, err
	}
	resp, err := s.meta.AlterTopic(ctx, &metadatav1.AlterTopicRequest{
		Name: req.GetName(), Set: set, Reset_: reset, Version: req.GetVersion(), ValidateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	t, err := s.changed(ctx, resp.GetTopic(), resp.GetRevision(), req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	return &moldauv1.UpdateTopicResponse{Topic: t, Origin: s.originAt(resp.GetRevision())}, nil
}

func configChanges(req *moldauv1.UpdateTopicRequest) (set map[string]string, reset []string, err error) {
	paths := req.GetUpdateMask().GetPaths()
	if len(paths) > maxConfigs || len(req.GetConfigs()) > maxConfigs {
		return nil, nil, invalid("configs", "more than %d configs", maxConfigs)
	}
	if len(paths) == 0 {
		if len(req.GetConfigs()) == 0 {
			return nil, nil, invalid("configs", "nothing to change")
		}
		return req.GetConfigs(), nil, nil
	}
	set = map[string]string{}
	for _, p := range paths {
		name, ok := strings.CutPrefix(p, "configs.")
		if !ok || name == "" {
			return nil, nil, invalid("update_mask", "%q is not of the form configs.NAME", clip(p))
		}
		if v, has := req.GetConfigs()[name]; has {
			set[name] = v
		} else {
			reset = append(reset, name)
		}
	}
	return set, reset, nil
}

// AddPartitions grows a topic.
func (s *Server) AddPartitions(ctx context.Context, req *moldauv1.AddPartitionsRequest) (*moldauv1.AddPartitionsResponse, error) {
	if _, err := s.topic(req.GetName(), "name"); err != nil {
		return nil, err
	}
	if err := mayChange(req.GetName()); err != nil {
		return nil, err
	}
	if n := req.GetPartitionCount(); n < 1 || n > maxPartitions {
		return nil, errcode.New(errcode.InvalidPartitions, "%d partitions, 1 to %d are allowed", n, maxPartitions).WithField("partition_count")
	}
	resp, err := s.meta.AddPartitions(ctx, &metadatav1.AddPartitionsRequest{
		Name: req.GetName(), PartitionCount: req.GetPartitionCount(), ValidateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	t, err := s.changed(ctx, resp.GetTopic(), resp.GetRevision(), req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	return &moldauv1.AddPartitionsResponse{Topic: t, Origin: s.originAt(resp.GetRevision())}, nil
}

// DeleteTopic deletes a topic and its records for good.
func (s *Server) DeleteTopic(ctx context.Context, req *moldauv1.DeleteTopicRequest) (*moldauv1.DeleteTopicResponse, error) {
	if _, err := s.topic(req.GetName(), "name"); err != nil {
		return nil, err
	}
	if err := mayChange(req.GetName()); err != nil {
		return nil, err
	}
	var id []byte
	if req.GetTopicId() != "" {
		parsed, err := topicid.Parse(req.GetTopicId())
		if err != nil {
			return nil, invalid("topic_id", "%q is not a topic id", clip(req.GetTopicId()))
		}
		id = parsed[:]
	}
	resp, err := s.meta.DeleteTopic(ctx, &metadatav1.DeleteTopicRequest{Name: req.GetName(), TopicId: id, ValidateOnly: req.GetValidateOnly()})
	if err != nil {
		return nil, err
	}
	s.follow(ctx, resp.GetRevision(), req.GetValidateOnly())
	gone, err := topicid.FromBytes(resp.GetTopicId())
	if err != nil {
		return nil, err
	}
	return &moldauv1.DeleteTopicResponse{TopicId: gone.String(), Origin: s.originAt(resp.GetRevision())}, nil
}

// mayChange refuses changes of the platform's own topics.
func mayChange(name string) error {
	if !topicconfig.IsInternal(name) {
		return nil
	}
	return errcode.New(errcode.PolicyViolation, "%s belongs to the platform", name).WithField("name")
}

// follow waits for this gateway's own view, so that the caller's next call
// sees the change. The change stands even where that takes too long.
func (s *Server) follow(ctx context.Context, revision int64, validateOnly bool) {
	if !validateOnly {
		_ = s.meta.WaitRevision(ctx, revision)
	}
}

func (s *Server) changed(ctx context.Context, state *metadatav1.TopicState, revision int64, validateOnly bool) (*moldauv1.Topic, error) {
	s.follow(ctx, revision, validateOnly)
	t, err := topicOf(state)
	if err != nil {
		return nil, err
	}
	return showTopic(t, true), nil
}

func topicOf(state *metadatav1.TopicState) (*metadataclient.Topic, error) {
	t := &metadataclient.Topic{
		Name: state.GetName(), Configs: state.GetConfigs(), CreateTimeMs: state.GetCreateTimeMs(), Version: state.GetVersion(),
	}
	if len(state.GetTopicId()) > 0 { // a topic that is only validated has none
		id, err := topicid.FromBytes(state.GetTopicId())
		if err != nil {
			return nil, err
		}
		t.ID = id
	}
	for _, p := range state.GetPartitions() {
		t.Partitions = append(t.Partitions, metadataclient.Partition{
			Leader: p.GetLeader(), LeaderEpoch: p.GetLeaderEpoch(), PartitionEpoch: p.GetPartitionEpoch(), Replicas: p.GetReplicas(), ISR: p.GetIsr(),
		})
	}
	return t, nil
}

func showTopic(t *metadataclient.Topic, whole bool) *moldauv1.Topic {
	out := &moldauv1.Topic{
		Name: t.Name, PartitionCount: int32(len(t.Partitions)), Internal: topicconfig.IsInternal(t.Name), Version: t.Version,
	}
	if !t.ID.IsZero() {
		out.TopicId = t.ID.String()
	}
	if len(t.Partitions) > 0 {
		out.ReplicationFactor = int32(len(t.Partitions[0].Replicas))
	}
	if t.CreateTimeMs > 0 {
		out.CreateTime = timestamppb.New(timeOf(t.CreateTimeMs))
	}
	if !whole {
		return out
	}
	for _, e := range topicconfig.Effective(t.Configs) {
		source := moldauv1.ConfigSource_CONFIG_SOURCE_DEFAULT
		if e.Overridden {
			source = moldauv1.ConfigSource_CONFIG_SOURCE_TOPIC
		}
		out.Configs = append(out.Configs, &moldauv1.Config{
			Name: e.Name, Value: e.Value, Source: source, DefaultValue: e.Default, Documentation: e.Documentation,
		})
	}
	for i, p := range t.Partitions {
		out.Partitions = append(out.Partitions, &moldauv1.Partition{
			Index: int32(i), LeaderId: p.Leader, LeaderEpoch: p.LeaderEpoch, ReplicaIds: p.Replicas, InSyncReplicaIds: p.ISR,
		})
	}
	return out
}

// distinct checks a list of partitions that may name each one once.
func distinct(t *metadataclient.Topic, n int, at func(i int) int32, field string) error {
	if n > len(t.Partitions) {
		return invalid(field, "%d partitions named, %s has %d", n, t.Name, len(t.Partitions))
	}
	seen := make(map[int32]struct{}, n)
	for i := range n {
		if err := routing.CheckPartition(t, at(i)); err != nil {
			return errcode.Of(err).WithField(field)
		}
		if _, twice := seen[at(i)]; twice {
			return invalid(field, "partition %d is named twice", at(i))
		}
		seen[at(i)] = struct{}{}
	}
	return nil
}
