package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// ElectLeaders makes preferred leaders lead or, if asked, one that loses records
// (KIP-460).
//
// Versions 0–2. Null topics are all, of which those that changed are told.
func electLeadersAPI() api {
	return api{
		key: 43, name: "ElectLeaders", max: 2, flexible: 2,
		shape: shape{since(1, anInt8), listOf(always(aString), list(anInt32)), always(anInt32)},
		serve: coded(electLeaders),
	}
}

const uncleanElection = 1

func electLeaders(c *conn, ctx context.Context, req *kmsg.ElectLeadersRequest) *kmsg.ElectLeadersResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrElectLeadersResponse()
	var out partitionResults
	if req.ElectionType < 0 || req.ElectionType > uncleanElection {
		resp.ErrorCode = kerr.InvalidRequest.Code
		for _, t := range req.Topics {
			for _, index := range t.Partitions {
				out.fail(out.add(t.Topic, index), errcode.New(errcode.InvalidArgument, "%d is no way of electing", req.ElectionType))
			}
		}
		out.write(resp)
		return resp
	}
	view := c.s.meta.View()
	ask := &metadatav1.ElectLeadersRequest{Unclean: req.ElectionType == uncleanElection}
	for _, t := range req.Topics {
		known := view.Topics[t.Topic]
		for _, index := range t.Partitions {
			at := out.add(t.Topic, index)
			id, code := partitionOf(known, index)
			if code != 0 {
				out.fail(at, errcode.New(errcode.UnknownPartition, "%s has no partition %d", t.Topic, index))
				continue
			}
			out.asked = append(out.asked, at)
			ask.Elections = append(ask.Elections, &metadatav1.LeaderElection{TopicId: id.Topic[:], Partition: index, Replica: -1})
		}
	}
	if len(ask.Elections) > 0 || req.Topics == nil {
		done, err := c.s.meta.ElectLeaders(ctx, ask)
		if err == nil && req.Topics != nil {
			err = sameCount(len(done.GetResults()), len(out.asked))
		}
		if err != nil {
			resp.ErrorCode = adminCodeOf(err)
			return resp
		}
		for i, r := range done.GetResults() {
			if req.Topics == nil {
				id, _ := topicid.FromBytes(r.GetTopicId())
				if t := view.TopicsByID[id]; t != nil {
					out.fail(out.add(t.Name, r.GetPartition()), replicaError(r.GetError()))
				}
				continue
			}
			out.fail(out.asked[i], replicaError(r.GetError()))
		}
		c.s.follow(ctx, done.GetRevision(), false)
	}
	out.write(resp)
	return resp
}

func (r *partitionResults) write(resp *kmsg.ElectLeadersResponse) {
	for _, t := range r.topics {
		topic := kmsg.ElectLeadersResponseTopic{Topic: t.name}
		for _, p := range t.parts {
			topic.Partitions = append(topic.Partitions, kmsg.ElectLeadersResponseTopicPartition{Partition: p.index, ErrorCode: p.code, ErrorMessage: p.text})
		}
		resp.Topics = append(resp.Topics, topic)
	}
}

// replicaError is the error, or nil, of one partition of an answer of metadata.
func replicaError(e *metadatav1.ReplicaError) error {
	if e.GetReason() == "" {
		return nil
	}
	reason, known := errcode.ParseReason(e.GetReason())
	if !known {
		reason = errcode.Internal
	}
	return errcode.New(reason, "%s", e.GetMessage())
}

// partitionResults gathers answers by partition, in the order asked.
type partitionResults struct {
	topics []topicResults
	asked  []place // those that metadata was asked about, in that order
}

type topicResults struct {
	name  string
	parts []partitionResult
}

type partitionResult struct {
	index int32
	code  int16
	text  *string
}

// place is where a partition's answer stands.
type place struct{ topic, part int }

func (r *partitionResults) add(topic string, index int32) place {
	if n := len(r.topics); n == 0 || r.topics[n-1].name != topic {
		r.topics = append(r.topics, topicResults{name: topic})
	}
	t := &r.topics[len(r.topics)-1]
	t.parts = append(t.parts, partitionResult{index: index})
	return place{len(r.topics) - 1, len(t.parts) - 1}
}

func (r *partitionResults) fail(at place, err error) {
	p := &r.topics[at.topic].parts[at.part]
	p.code, p.text = adminCodeOf(err), textOf(err)
}
