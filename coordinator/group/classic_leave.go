package group

import (
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// leave serves a LeaveGroup, of either kind of group. Each member has a result
// of its own.
func (m *Machine) leave(q *coordinatorv1.LeaveGroupRequest) (*coordinatorv1.LeaveGroupResponse, error) {
	if err := checkGroupID(q.GetGroupId()); err != nil {
		return nil, err
	}
	switch g := m.groups[q.GetGroupId()].(type) {
	case *classicGroup:
		return m.leaveClassic(g, q), nil
	case *consumerGroup:
		return m.leaveConsumerGroup(g, q), nil
	default:
		return nil, unknownGroupMember(q.GetGroupId())
	}
}

func (m *Machine) leaveClassic(g *classicGroup, q *coordinatorv1.LeaveGroupRequest) *coordinatorv1.LeaveGroupResponse {
	r, left := &coordinatorv1.LeaveGroupResponse{}, false
	for _, x := range q.GetMembers() {
		err := m.leaveOne(g, x)
		left = left || err == nil
		r.Errors = append(r.Errors, partError(err))
	}
	switch {
	case !left:
	case g.now == stable || g.now == completing:
		m.rebalance(g)
	default:
		m.completeIfAllJoined(g)
	}
	return r
}

// leaveOne removes one member, which an operator may name by its instance alone.
func (m *Machine) leaveOne(g *classicGroup, q *coordinatorv1.LeavingMember) error {
	id := q.GetMemberId()
	if id == "" {
		known := false
		if id, known = g.static[q.GetInstanceId()]; !known || q.GetInstanceId() == "" {
			return refuse(errcode.UnknownMember, "no member has instance id %q", q.GetInstanceId())
		}
	} else if g.pending[id] {
		m.evict(g, id)
		return nil
	} else if err := g.check(id, q.GetInstanceId()); err != nil {
		return err
	}
	m.refuseParked(g.members[id], errcode.UnknownMember, "the member has left")
	m.evict(g, id)
	return nil
}

// partError is the error of one part of a request; without a reason where there
// is none.
func partError(err error) *coordinatorv1.PartError {
	if err == nil {
		return &coordinatorv1.PartError{}
	}
	e := errcode.Of(err)
	return &coordinatorv1.PartError{Reason: string(e.Reason), Message: e.Message}
}
