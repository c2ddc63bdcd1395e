package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/topicid"
)

// OffsetFetch returns committed offsets.
//
// Versions 1–10. Null topics are all of a group from version 2 on; many groups
// go into one request from 8 on (KIP-709), and topics by id in 10. An offset
// that a transaction holds is UNSTABLE_OFFSET_COMMIT to those who ask for
// stable ones (7 on, KIP-447).
func offsetFetchAPI() api {
	return api{
		key: 9, name: "OffsetFetch", min: 1, max: 10, flexible: 6, coordinated: true,
		shape: shape{
			between(0, 7, aString), listOf(always(aString), list(anInt32)).upTo(7),
			listOf(
				always(aString), since(9, aString), since(9, anInt32),
				listOf(between(8, 9, aString), since(10, anID), list(anInt32)),
			).from(8),
			since(7, aBool),
		},
		serve: coded(offsetFetch),
	}
}

// offsetTopic is one topic of an answer: the asked partitions in their order.
type offsetTopic struct {
	name    string
	id      topicid.ID
	missing int16
	parts   []kmsg.OffsetFetchResponseGroupTopicPartition
}

func offsetFetch(c *conn, ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	groups := req.Groups
	if req.Version < 8 {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = req.Group
		if req.Topics != nil {
			g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
		}
		for i, t := range req.Topics {
			g.Topics[i].Topic, g.Topics[i].Partitions = t.Topic, t.Partitions
		}
		groups = []kmsg.OffsetFetchRequestGroup{g}
	}
	ask := &coordinatorv1.FetchOffsetsRequest{RequireStable: req.RequireStable}
	topics := make([][]offsetTopic, len(groups))
	for i := range groups {
		var g *coordinatorv1.FetchGroupOffsets
		topics[i], g = c.s.askOffsets(&groups[i], req.Version)
		ask.Groups = append(ask.Groups, g)
	}
	got, err := c.s.coordinators.FetchOffsets(ctx, ask)
	if err == nil {
		err = sameCount(len(got.GetGroups()), len(groups))
	}
	resp := kmsg.NewPtrOffsetFetchResponse()
	for i := range groups {
		out := kmsg.NewOffsetFetchResponseGroup()
		out.Group, out.ErrorCode = groups[i].Group, groupCodeOf(err)
		if err == nil {
			out.ErrorCode = partCodeOf(got.GetGroups()[i].GetError())
		}
		if out.ErrorCode == 0 && ask.Groups[i].GetAll() {
			topics[i] = c.s.allOffsets(got.GetGroups()[i], req.Version)
		} else if out.ErrorCode == 0 {
			out.ErrorCode = fillOffsets(topics[i], got.GetGroups()[i])
		}
		if out.ErrorCode != 0 && req.Version >= 2 {
			topics[i] = nil
		}
		for _, t := range topics[i] {
			out.Topics = append(out.Topics, kmsg.OffsetFetchResponseGroupTopic{Topic: t.name, TopicID: t.id, Partitions: t.parts})
		}
		resp.Groups = append(resp.Groups, out)
	}
	if req.Version < 8 {
		ungroup(resp, req.Version)
	}
	return resp
}

// askOffsets makes the question about one group, and the frame of its answer
// with -1 for each partition.
func (s *Server) askOffsets(in *kmsg.OffsetFetchRequestGroup, version int16) ([]offsetTopic, *coordinatorv1.FetchGroupOffsets) {
	ask := &coordinatorv1.FetchGroupOffsets{GroupId: in.Group, MemberEpoch: -1, All: in.Topics == nil}
	if version >= 9 {
		ask.MemberId, ask.MemberEpoch = text(in.MemberID), in.MemberEpoch
	}
	topics := make([]offsetTopic, len(in.Topics))
	for i := range in.Topics {
		t := &topics[i]
		name, id, missing := s.topicOf(in.Topics[i].Topic, in.Topics[i].TopicID, version >= 10)
		t.name, t.id = in.Topics[i].Topic, in.Topics[i].TopicID
		if version >= 10 {
			t.missing = missing // by name, offsets of what is gone are still told
		}
		for _, index := range in.Topics[i].Partitions {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = index, -1, -1, new(string), t.missing
			t.parts = append(t.parts, p)
			if t.missing != 0 {
				continue
			}
			key := &coordinatorv1.OffsetKey{Topic: name, Partition: index}
			if !id.IsZero() {
				key.TopicId = id[:]
			}
			ask.Keys = append(ask.Keys, key)
		}
	}
	return topics, ask
}

// fillOffsets puts what was found into the frame.
func fillOffsets(topics []offsetTopic, found *coordinatorv1.GroupOffsets) int16 {
	next := 0
	for i := range topics {
		if topics[i].missing != 0 {
			continue
		}
		for j := range topics[i].parts {
			if next >= len(found.GetOffsets()) {
				return groupCodeOf(sameCount(next, next+1))
			}
			fillOffset(&topics[i].parts[j], found, next)
			next++
		}
	}
	return 0
}

func fillOffset(out *kmsg.OffsetFetchResponseGroupTopicPartition, found *coordinatorv1.GroupOffsets, i int) {
	in := found.GetOffsets()[i]
	out.Offset, out.LeaderEpoch, out.Metadata = in.GetOffset(), in.GetLeaderEpoch(), &in.Metadata
	if i < len(found.GetErrors()) {
		out.ErrorCode = partCodeOf(found.GetErrors()[i])
	}
	if out.ErrorCode != 0 {
		out.Offset, out.LeaderEpoch, out.Metadata = -1, -1, new(string)
	}
}

// allOffsets makes an answer of all offsets of a group. By id, those of topics
// that are gone have no name to be told by.
func (s *Server) allOffsets(found *coordinatorv1.GroupOffsets, version int16) (topics []offsetTopic) {
	at := map[string]int{}
	for i, o := range found.GetOffsets() {
		n, known := at[o.GetTopic()]
		if !known {
			_, id, missing := s.topicOf(o.GetTopic(), topicid.ID{}, false)
			if version >= 10 && missing != 0 {
				continue
			}
			n = len(topics)
			at[o.GetTopic()] = n
			topics = append(topics, offsetTopic{name: o.GetTopic(), id: id})
		}
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition = o.GetPartition()
		fillOffset(&p, found, i)
		topics[n].parts = append(topics[n].parts, p)
	}
	return topics
}

// ungroup turns an answer about one group into that of versions before 8; up to
// 1 an error of the group stands at each partition.
func ungroup(resp *kmsg.OffsetFetchResponse, version int16) {
	g := resp.Groups[0]
	resp.Groups, resp.ErrorCode = nil, g.ErrorCode
	for _, t := range g.Topics {
		out := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			part := kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			}
			if version < 2 && g.ErrorCode != 0 {
				part.ErrorCode = g.ErrorCode
			}
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
	}
}
