package native

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

const maxMembers = 1000

// groupStates are Kafka's names of states.
var groupStates = map[string]moldauv1.GroupState{
	"Empty":               moldauv1.GroupState_GROUP_STATE_EMPTY,
	"Assigning":           moldauv1.GroupState_GROUP_STATE_ASSIGNING,
	"Reconciling":         moldauv1.GroupState_GROUP_STATE_RECONCILING,
	"Stable":              moldauv1.GroupState_GROUP_STATE_STABLE,
	"PreparingRebalance":  moldauv1.GroupState_GROUP_STATE_PREPARING_REBALANCE,
	"CompletingRebalance": moldauv1.GroupState_GROUP_STATE_COMPLETING_REBALANCE,
	"Dead":                moldauv1.GroupState_GROUP_STATE_DEAD,
}

var groupTypes = map[string]moldauv1.GroupType{
	"classic": moldauv1.GroupType_GROUP_TYPE_CLASSIC, "consumer": moldauv1.GroupType_GROUP_TYPE_CONSUMER,
}

// ListGroups lists groups by id, in pages.
func (s *Server) ListGroups(ctx context.Context, req *moldauv1.ListGroupsRequest) (*moldauv1.ListGroupsResponse, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	if size < 0 || size > maxPageSize {
		return nil, invalid("page_size", "%d is not within 1 to %d", size, maxPageSize)
	}
	after, err := readGroupToken(req.GetPageToken(), req.GetPrefix())
	if err != nil {
		return nil, err
	}
	ask := &coordinatorv1.ListGroupsRequest{}
	for _, want := range req.GetStates() {
		name, known := nameOf(groupStates, want)
		if !known {
			return nil, invalid("states", "%s is no state of a group", want)
		}
		ask.States = append(ask.States, name)
	}
	for _, want := range req.GetTypes() {
		name, known := nameOf(groupTypes, want)
		if !known {
			return nil, invalid("types", "%s is no type of a group", want)
		}
		ask.Types = append(ask.Types, name)
	}
	all, err := s.coordinators.ListGroups(ctx, ask)
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.ListGroupsResponse{Incomplete: len(all.GetLoadingShards()) > 0, Origin: s.origin()}
	for _, g := range all.GetGroups() {
		if id := g.GetGroupId(); !strings.HasPrefix(id, req.GetPrefix()) || req.GetPageToken() != "" && id <= after {
			continue
		}
		if len(resp.Groups) == size {
			resp.NextPageToken = groupToken(resp.Groups[size-1].GetGroupId(), req.GetPrefix())
			break
		}
		resp.Groups = append(resp.Groups, &moldauv1.Group{
			GroupId: g.GetGroupId(), Type: groupTypes[g.GetType()], State: groupStates[g.GetState()], ProtocolType: g.GetProtocolType(),
		})
	}
	return resp, nil
}

func nameOf[E comparable](names map[string]E, want E) (string, bool) {
	for name, e := range names {
		if e == want {
			return name, true
		}
	}
	return "", false
}

// A page token is the group before the page and the prefix that it was asked
// with.
func groupToken(id, prefix string) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(id)) + "." + enc.EncodeToString([]byte(prefix))
}

func readGroupToken(token, prefix string) (after string, err error) {
	if token == "" {
		return "", nil
	}
	first, second, ok := strings.Cut(token, ".")
	id, bad := base64.RawURLEncoding.DecodeString(first)
	with, worse := base64.RawURLEncoding.DecodeString(second)
	if !ok || bad != nil || worse != nil || string(with) != prefix {
		return "", invalid("page_token", "the token is not of a page of this listing")
	}
	return string(id), nil
}

// GetGroup shows one group with its members and how far it is behind.
func (s *Server) GetGroup(ctx context.Context, req *moldauv1.GetGroupRequest) (*moldauv1.GetGroupResponse, error) {
	found, err := s.describeGroup(ctx, req.GetGroupId())
	if err != nil {
		return nil, err
	}
	view := s.meta.View()
	out := &moldauv1.Group{
		GroupId: found.GetGroupId(), Type: groupTypes[found.GetType()], State: groupStates[found.GetState()],
		ProtocolType: found.GetProtocolType(), Protocol: found.GetProtocolName(),
		Epoch: found.GetEpoch(), AssignmentEpoch: found.GetAssignmentEpoch(),
	}
	for _, m := range found.GetMembers() {
		out.Members = append(out.Members, showMember(view, found, m))
	}
	if out.Progress, err = s.groupProgress(ctx, view, out); err != nil {
		return nil, err
	}
	return &moldauv1.GetGroupResponse{Group: out, Origin: s.origin()}, nil
}

func (s *Server) describeGroup(ctx context.Context, id string) (*coordinatorv1.Group, error) {
	if err := checkGroupID(id); err != nil {
		return nil, err
	}
	return coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.Group, error) {
		resp, err := s.coordinators.DescribeGroups(ctx, &coordinatorv1.DescribeGroupsRequest{GroupIds: []string{id}})
		if err != nil {
			return nil, err
		}
		if len(resp.GetGroups()) != 1 {
			return nil, errcode.New(errcode.Internal, "a coordinator answered for %d groups, 1 was asked", len(resp.GetGroups()))
		}
		return resp.Groups[0], partError(resp.Groups[0].GetError())
	})
}

func showMember(view *metadataclient.View, g *coordinatorv1.Group, m *coordinatorv1.Member) *moldauv1.GroupMemberState {
	out := &moldauv1.GroupMemberState{
		Member:   &moldauv1.GroupMember{MemberId: m.GetMemberId(), InstanceId: m.GetInstanceId(), Generation: g.GetEpoch()},
		ClientId: m.GetClientId(), ClientHost: m.GetClientHost(), Rack: m.GetRackId(),
	}
	if groupTypes[g.GetType()] == moldauv1.GroupType_GROUP_TYPE_CONSUMER {
		out.Member.Generation = m.GetMemberEpoch()
		out.Topics, out.TopicPattern = m.GetSubscription().GetTopics(), m.GetSubscription().GetRegex()
		out.Assignment, out.Target = showPartitions(view, m.GetOwned()), showPartitions(view, m.GetTarget())
	} else if g.GetProtocolType() == consumerProtocol {
		out.Topics, out.Assignment = readTopics(m.GetMetadata()), readAssignment(m.GetAssignment())
	}
	return out
}

// showPartitions names topics; what is deleted is left out.
func showPartitions(view *metadataclient.View, o *coordinatorv1.Ownership) (out []*moldauv1.TopicPartitions) {
	for _, p := range o.GetPartitions() {
		id, err := topicid.FromBytes(p.GetTopicId())
		if t := view.TopicsByID[id]; err == nil && t != nil {
			out = append(out, &moldauv1.TopicPartitions{Topic: t.Name, Partitions: p.GetPartitions()})
		}
	}
	slices.SortFunc(out, func(a, b *moldauv1.TopicPartitions) int { return strings.Compare(a.GetTopic(), b.GetTopic()) })
	return out
}

// RemoveMembers removes members from a group.
func (s *Server) RemoveMembers(ctx context.Context, req *moldauv1.RemoveMembersRequest) (*moldauv1.RemoveMembersResponse, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	if n := len(req.GetMembers()); n == 0 || n > maxMembers {
		return nil, invalid("members", "%d members, 1 to %d are allowed", n, maxMembers)
	}
	for _, m := range req.GetMembers() {
		if m.GetMemberId() == "" && m.GetInstanceId() == "" {
			return nil, invalid("members", "a member has a member id or an instance id")
		}
	}
	g, err := s.describeGroup(ctx, req.GetGroupId())
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.RemoveMembersResponse{Origin: s.origin()}
	for _, m := range req.GetMembers() {
		out := &moldauv1.RemovedMember{Member: m}
		if err := s.removeMember(ctx, g, m, clip(req.GetWhy())); err != nil {
			out.Error = rangeError(err, nil)
		}
		resp.Members = append(resp.Members, out)
	}
	return resp, nil
}

// removeMember has a member leave, by the protocol that it speaks.
func (s *Server) removeMember(ctx context.Context, g *coordinatorv1.Group, m *moldauv1.GroupMember, why string) error {
	for _, known := range g.GetMembers() {
		named := known.GetMemberId() == m.GetMemberId() || m.GetMemberId() == "" && known.GetInstanceId() == m.GetInstanceId()
		if named && known.GetMemberType() == consumerMember && groupTypes[g.GetType()] == moldauv1.GroupType_GROUP_TYPE_CONSUMER {
			return s.leave(ctx, g.GetGroupId(), known.GetMemberId(), known.GetInstanceId())
		}
	}
	_, err := coordinated(ctx, s, func(ctx context.Context) (struct{}, error) {
		left, err := s.coordinators.LeaveGroup(ctx, &coordinatorv1.LeaveGroupRequest{GroupId: g.GetGroupId(), Members: []*coordinatorv1.LeavingMember{
			{MemberId: m.GetMemberId(), InstanceId: m.GetInstanceId(), Why: why},
		}})
		if err != nil {
			return struct{}{}, err
		}
		if len(left.GetErrors()) != 1 {
			return struct{}{}, errcode.New(errcode.Internal, "a coordinator answered for %d members, 1 was named", len(left.GetErrors()))
		}
		return struct{}{}, partError(left.Errors[0])
	})
	return err
}

const (
	consumerMember = 1  // of the next-generation protocol
	leavingEpoch   = -1 // of a member that leaves for good
)

// leave has a member of the next-generation protocol leave for good.
func (s *Server) leave(ctx context.Context, group, member, instance string) error {
	ask := &coordinatorv1.HeartbeatMemberRequest{GroupId: group, MemberId: member, MemberEpoch: leavingEpoch, RebalanceTimeoutMs: -1}
	if instance != "" {
		ask.InstanceId = &instance
	}
	_, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.HeartbeatMemberResponse, error) {
		return s.coordinators.HeartbeatMember(ctx, ask)
	})
	return err
}

// DeleteGroup deletes a group without members, and its offsets.
func (s *Server) DeleteGroup(ctx context.Context, req *moldauv1.DeleteGroupRequest) (*moldauv1.DeleteGroupResponse, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	_, err := coordinated(ctx, s, func(ctx context.Context) (struct{}, error) {
		resp, err := s.coordinators.DeleteGroups(ctx, &coordinatorv1.DeleteGroupsRequest{GroupIds: []string{req.GetGroupId()}})
		if err != nil {
			return struct{}{}, err
		}
		if len(resp.GetErrors()) != 1 {
			return struct{}{}, errcode.New(errcode.Internal, "a coordinator answered for %d groups, 1 was named", len(resp.GetErrors()))
		}
		return struct{}{}, partError(resp.Errors[0])
	})
	if err != nil {
		return nil, err
	}
	return &moldauv1.DeleteGroupResponse{Origin: s.origin()}, nil
}
