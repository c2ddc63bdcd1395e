package kafka

import (
	"context"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// groupCodeOf is codeOf for what coordinators are asked: whatever kept one from
// answering makes clients look for it again.
func groupCodeOf(err error) int16 {
	switch errcode.ReasonOf(err) {
	case errcode.RequestTimedOut, errcode.NodeUnavailable, errcode.ShuttingDown, errcode.NotController, errcode.ControllerUnavailable:
		return kerr.CoordinatorNotAvailable.Code
	case errcode.Canceled: // by a drain: another gateway is the coordinator from now on
		return kerr.NotCoordinator.Code
	default:
		return codeOf(err)
	}
}

// partError is the error, or nil, of one part of a coordinator's answer.
func partError(p *coordinatorv1.PartError) error {
	if p.GetReason() == "" {
		return nil
	}
	reason, known := errcode.ParseReason(p.GetReason())
	if !known {
		reason = errcode.Internal
	}
	return errcode.New(reason, "%s", p.GetMessage())
}

func partCodeOf(p *coordinatorv1.PartError) int16 { return groupCodeOf(partError(p)) }

// parked bounds a wait that a client chose, and ends it when the gateway
// drains.
func (s *Server) parked(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, most)
	stop := context.AfterFunc(s.polling, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// clientHost is how Kafka writes the address of a member.
func (c *conn) clientHost() string {
	host, _, err := net.SplitHostPort(c.peer())
	if err != nil {
		return c.peer()
	}
	return "/" + host
}

// text is the string that p points to, or the empty one.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// topicOf finds the name and id of a topic that a request names by one of the
// two, or the code for one that is not there.
func (s *Server) topicOf(name string, id topicid.ID, byID bool) (string, topicid.ID, int16) {
	view := s.meta.View()
	if byID {
		if t := view.TopicsByID[id]; t != nil {
			return t.Name, id, 0
		}
		return "", id, kerr.UnknownTopicID.Code
	}
	if t := view.Topics[name]; t != nil {
		return name, t.ID, 0
	}
	return name, topicid.ID{}, kerr.UnknownTopicOrPartition.Code
}
