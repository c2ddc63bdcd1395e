package native

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

const (
	maxPatternBytes  = 4096
	maxClientIDBytes = 255
	maxInstanceBytes = 255
	maxCredit        = 1_000_000

	defaultRevokeTimeout = 30 * time.Second
	defaultStallTimeout  = 5 * time.Minute
	defaultLinger        = 10 * time.Second
	maxRevokeTimeout     = 10 * time.Minute
	maxStallTimeout      = time.Hour
	maxLinger            = 30 * time.Second
)

// consumeRequest is a request that was checked, with its defaults.
type consumeRequest struct {
	group, pattern, assignor, client string
	instance                         string // of a static member; empty for none
	credit                           int64  // records that may not be committed; 0: any number
	topics                           []string
	begin                            *moldauv1.Position
	revoke, stall, linger            time.Duration
	was                              *membership // to go on as; nil: join anew
}

func (s *Server) checkConsume(req *moldauv1.ConsumeRequest) (*consumeRequest, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	switch n := len(req.GetTopics()); {
	case n == 0 && req.GetTopicPattern() == "":
		return nil, invalid("topics", "topics or a pattern are needed")
	case n > maxReadTopics:
		return nil, invalid("topics", "%d topics, at most %d are allowed", n, maxReadTopics)
	case len(req.GetTopicPattern()) > maxPatternBytes:
		return nil, errcode.New(errcode.InvalidRegularExpression, "%d bytes, at most %d are allowed", len(req.GetTopicPattern()), maxPatternBytes).WithField("topic_pattern")
	case len(req.GetClientId()) > maxClientIDBytes:
		return nil, invalid("client_id", "%d bytes, at most %d are allowed", len(req.GetClientId()), maxClientIDBytes)
	case req.GetMaxUncommittedRecords() < 0 || req.GetMaxUncommittedRecords() > maxCredit:
		return nil, invalid("max_uncommitted_records", "%d is not within 0 to %d", req.GetMaxUncommittedRecords(), maxCredit)
	case len(req.GetInstanceId()) > maxInstanceBytes:
		return nil, invalid("instance_id", "%d bytes, at most %d are allowed", len(req.GetInstanceId()), maxInstanceBytes)
	}
	if _, offset := req.GetBegin().GetAt().(*moldauv1.Position_Offset); offset {
		return nil, invalid("begin", "an offset is no place in partitions that are not known yet")
	}
	if err := checkPosition(req.GetBegin(), "begin"); err != nil {
		return nil, err
	}
	q := &consumeRequest{
		group: req.GetGroupId(), pattern: req.GetTopicPattern(), assignor: req.GetAssignor(), client: req.GetClientId(),
		topics: req.GetTopics(), begin: req.GetBegin(), instance: req.GetInstanceId(),
		credit: req.GetMaxUncommittedRecords(),
	}
	for _, d := range []struct {
		to                *time.Duration
		field             string
		asked             *durationpb.Duration
		least, most, none time.Duration
	}{
		{&q.revoke, "revoke_timeout", req.GetRevokeTimeout(), time.Second, maxRevokeTimeout, defaultRevokeTimeout},
		{&q.stall, "stall_timeout", req.GetStallTimeout(), time.Second, maxStallTimeout, defaultStallTimeout},
		{&q.linger, "linger", req.GetLinger(), 0, maxLinger, defaultLinger},
	} {
		*d.to = d.none
		if d.asked == nil {
			continue
		}
		if *d.to = d.asked.AsDuration(); d.asked.CheckValid() != nil || *d.to < d.least || *d.to > d.most {
			return nil, invalid(d.field, "not within %s to %s", d.least, d.most)
		}
	}
	if req.GetResumeToken() == "" {
		return q, s.checkSubscribed(q.topics)
	}
	was, err := s.readMembership(q.group, req.GetResumeToken())
	q.was = &was
	return q, err
}

// checkSubscribed refuses topics that are not there, and topics named twice. Who
// goes on is not asked: topics may go.
func (s *Server) checkSubscribed(topics []string) error {
	seen := map[string]bool{}
	for _, name := range topics {
		if _, err := s.topic(name, "topics"); err != nil {
			return err
		}
		if seen[name] {
			return invalid("topics", "%q is named twice", clip(name))
		}
		seen[name] = true
	}
	return nil
}
