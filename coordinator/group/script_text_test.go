package group

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// bytes reads META and WHAT of script.run.
func (s *script) bytes(text string) []byte {
	if what, ok := strings.CutPrefix(text, "asg("); ok {
		return writeAssignment(1, s.m.byName(s.partitions(strings.TrimSuffix(what, ")"))))
	}
	what, ok := strings.CutPrefix(text, "sub(")
	if !ok {
		return []byte(text)
	}
	topics, owned, _ := strings.Cut(strings.TrimSuffix(what, ")"), "|")
	be := binary.BigEndian
	b := be.AppendUint16(nil, 1)
	var names []string
	if topics != "" {
		names = strings.Split(topics, "+")
	}
	b = be.AppendUint32(b, uint32(len(names)))
	for _, n := range names {
		b = append(be.AppendUint16(b, uint16(len(n))), n...)
	}
	b = be.AppendUint32(b, 1<<32-1)
	held := writeAssignment(1, s.m.byName(s.partitions(owned)))
	return append(b, held[2:len(held)-4]...)
}

func (s *script) protocols(text string) (list []*coordinatorv1.Protocol) {
	for p := range strings.SplitSeq(text, ",") {
		if name, meta, _ := strings.Cut(p, "="); name != "" {
			list = append(list, &coordinatorv1.Protocol{Name: name, Metadata: s.bytes(meta)})
		}
	}
	return list
}

// partitions reads t-0+t-1.
func (s *script) partitions(text string) partitions {
	var list []partition
	for p := range strings.SplitSeq(text, "+") {
		if p == "" {
			continue
		}
		at := strings.LastIndexByte(p, '-')
		t := s.view.Topics[p[:at]]
		if t == nil {
			s.t.Fatalf("there is no topic %q", p[:at])
		}
		list = append(list, partition{t.ID, s.number(p[at+1:])})
	}
	return newPartitions(list)
}

func (s *script) keys(words []string) (keys []*coordinatorv1.OffsetKey) {
	for _, w := range words {
		if at := strings.LastIndexByte(w, '-'); at > 0 && !strings.Contains(w, "=") {
			keys = append(keys, &coordinatorv1.OffsetKey{Topic: w[:at], Partition: s.number(w[at+1:])})
		}
	}
	return keys
}

// offsets reads t-0=OFFSET[/EPOCH][/METADATA].
func (s *script) offsets(words []string) (list []*coordinatorv1.Offset) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		at := strings.LastIndexByte(name, '-')
		if at <= 0 {
			continue
		}
		parts := strings.Split(value, "/")
		o := &coordinatorv1.Offset{Topic: name[:at], Partition: s.number(name[at+1:]), Offset: int64(s.number(parts[0])), LeaderEpoch: -1}
		if len(parts) > 1 {
			o.LeaderEpoch = s.number(parts[1])
		}
		if len(parts) > 2 {
			o.Metadata = parts[2]
			if n, ok := strings.CutPrefix(parts[2], "bytes*"); ok {
				o.Metadata = strings.Repeat("x", int(s.number(n)))
			}
		}
		list = append(list, o)
	}
	return list
}

// record tells of a journal's record.
func (s *script) record(r journal.Record) string {
	kind, key, err := journal.ParseKey(r.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	name := strings.Join(key, " ")
	if r.Value == nil {
		return fmt.Sprintf("no %s %s", kindNames[kind], name)
	}
	value := map[journal.Kind]func() string{
		kindClassic: func() string {
			var v coordinatorv1.ClassicGroupRecord
			s.value(r, &v)
			var members []string
			for _, x := range v.GetMembers() {
				members = append(members, x.GetMemberId()+"="+shown(x.GetAssignment()))
			}
			return fmt.Sprintf("%s/%s gen=%d leader=%s %v", v.GetProtocolType(), v.GetProtocolName(), v.GetGeneration(), v.GetLeaderId(), members)
		},
		kindOffset: func() string {
			var v coordinatorv1.OffsetRecord
			s.value(r, &v)
			return fmt.Sprintf("%d", v.GetOffset())
		},
		kindPending: func() string {
			var v coordinatorv1.PendingOffsetRecord
			s.value(r, &v)
			return fmt.Sprintf("%d by epoch %d", v.GetOffset().GetOffset(), v.GetProducerEpoch())
		},
		kindConsumer: func() string {
			var v coordinatorv1.ConsumerGroupRecord
			s.value(r, &v)
			return fmt.Sprintf("epoch=%d assigned=%d", v.GetEpoch(), v.GetAssignmentEpoch())
		},
		kindMember: func() string {
			var v coordinatorv1.ConsumerMemberRecord
			s.value(r, &v)
			text := fmt.Sprintf("topics=%v", v.GetTopics())
			if v.GetRegex() != "" {
				text += " regex=" + v.GetRegex()
			}
			if v.GetClassic() != nil {
				text += " classic"
			}
			if v.GetStreamId() != "" {
				text += " stream=" + v.GetStreamId()
			}
			return text
		},
		kindTarget: func() string {
			var v coordinatorv1.TargetRecord
			s.value(r, &v)
			return s.shownPartitions(v.GetPartitions())
		},
		kindCurrent: func() string {
			var v coordinatorv1.CurrentRecord
			s.value(r, &v)
			text := fmt.Sprintf("epoch=%d %s %s", v.GetEpoch(), strings.TrimPrefix(v.GetState().String(), "MEMBER_STATE_"), s.shownHeld(v.GetAssigned()))
			if len(v.GetRevoking()) > 0 {
				text += " revoking " + s.shownHeld(v.GetRevoking())
			}
			return text
		},
	}[kind]()
	return fmt.Sprintf("%s %s: %s", kindNames[kind], name, value)
}

var kindNames = map[journal.Kind]string{
	kindClassic: "classic", kindOffset: "offset", kindPending: "pending", kindConsumer: "consumer", kindMember: "member", kindTarget: "target", kindCurrent: "current",
}

func (s *script) value(r journal.Record, into proto.Message) {
	if err := journal.ReadValue(r.Value, into); err != nil {
		s.t.Fatal(err)
	}
}

// shown tells of bytes: those of the consumer protocol by what they say.
func shown(b []byte) string {
	if list, err := readAssignment(b); err == nil {
		var all []string
		for _, t := range list {
			for _, i := range t.indexes {
				all = append(all, fmt.Sprintf("%s-%d", t.topic, i))
			}
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	return string(b)
}

func (s *script) shownPartitions(list []*coordinatorv1.TopicPartitions) string {
	p, err := partitionsFromProto(list)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, x := range p {
		all = append(all, s.topicName(x)+"-"+strconv.Itoa(int(x.index)))
	}
	return "[" + strings.Join(all, " ") + "]"
}

func (s *script) topicName(p partition) string {
	if t := s.view.TopicsByID[p.topic]; t != nil {
		return t.Name
	}
	return "gone:" + s.view.Deleted[p.topic]
}

func (s *script) shownHeld(list []*coordinatorv1.HeldPartitions) string {
	h, err := heldFromProto(list)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.shownPartitions(partitionsToProto(h.partitions()))
}

func (s *script) errors(list []*coordinatorv1.PartError) string {
	var all []string
	for _, e := range list {
		if e.GetReason() == "" {
			all = append(all, "ok")
		} else {
			all = append(all, e.GetReason())
		}
	}
	return strings.Join(all, " ")
}

// reply tells of an answer.
func (s *script) reply(r shard.Reply) string {
	if r.Err != nil {
		e := errcode.Of(r.Err)
		if id := e.Metadata["member_id"]; id != "" {
			return string(e.Reason) + " " + id
		}
		return string(e.Reason)
	}
	switch a := r.Message.(type) {
	case *coordinatorv1.JoinGroupResponse:
		text := fmt.Sprintf("joined as %s gen=%d %s/%s leader=%s", a.GetMemberId(), a.GetGeneration(), a.GetProtocolType(), a.GetProtocolName(), a.GetLeaderId())
		for _, x := range a.GetMembers() {
			text += " +" + x.GetMemberId()
		}
		if a.GetSkipAssignment() {
			text += " skip"
		}
		return text
	case *coordinatorv1.SyncGroupResponse:
		return fmt.Sprintf("assigned %s %s/%s", shown(a.GetAssignment()), a.GetProtocolType(), a.GetProtocolName())
	case *coordinatorv1.HeartbeatGroupResponse:
		return "alive"
	case *coordinatorv1.LeaveGroupResponse:
		return "left " + s.errors(a.GetErrors())
	case *coordinatorv1.HeartbeatMemberResponse:
		text := fmt.Sprintf("%s epoch=%d", a.GetMemberId(), a.GetMemberEpoch())
		if a.GetAssignment() != nil {
			text += " has " + s.shownPartitions(a.GetAssignment().GetPartitions())
		}
		return text
	case *coordinatorv1.CommitOffsetsResponse:
		return "committed " + s.errors(a.GetErrors())
	case *coordinatorv1.CommitTransactionOffsetsResponse:
		return "pending " + s.errors(a.GetErrors())
	case *coordinatorv1.CompleteOffsetsResponse:
		return "completed"
	case *coordinatorv1.DeleteOffsetsResponse:
		return "forgot " + s.errors(a.GetErrors())
	case *coordinatorv1.DeleteGroupsResponse:
		return "deleted " + s.errors(a.GetErrors())
	case *coordinatorv1.FetchOffsetsResponse:
		return s.fetched(a.GetGroups()[0])
	case *coordinatorv1.ListGroupsResponse:
		var all []string
		for _, g := range a.GetGroups() {
			all = append(all, fmt.Sprintf("%s(%s %s %q)", g.GetGroupId(), g.GetType(), g.GetState(), g.GetProtocolType()))
		}
		return strings.Join(all, " ")
	case *coordinatorv1.DescribeGroupsResponse:
		return s.described(a.GetGroups()[0])
	}
	s.t.Fatalf("what is %T?", r.Message)
	return ""
}

func (s *script) fetched(g *coordinatorv1.GroupOffsets) string {
	if g.GetError() != nil {
		return g.GetError().GetReason()
	}
	all := []string{"offsets"}
	for i, o := range g.GetOffsets() {
		text := fmt.Sprintf("%s-%d=%d", o.GetTopic(), o.GetPartition(), o.GetOffset())
		if o.GetLeaderEpoch() >= 0 || o.GetMetadata() != "" {
			text += fmt.Sprintf("/%d/%s", o.GetLeaderEpoch(), o.GetMetadata())
		}
		if r := g.GetErrors()[i].GetReason(); r != "" {
			text += "!" + r
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func (s *script) described(g *coordinatorv1.Group) string {
	if g.GetError() != nil {
		return g.GetError().GetReason()
	}
	text := fmt.Sprintf("%s %s %s/%s epoch=%d/%d", g.GetType(), g.GetState(), g.GetProtocolType(), g.GetProtocolName(), g.GetEpoch(), g.GetAssignmentEpoch())
	for _, x := range g.GetMembers() {
		text += "\n  " + x.GetMemberId()
		if x.GetInstanceId() != "" {
			text += "@" + x.GetInstanceId()
		}
		if g.GetType() == "classic" {
			text += " " + shown(x.GetAssignment())
			continue
		}
		text += fmt.Sprintf(" epoch=%d type=%d topics=%v owns %s shall own %s", x.GetMemberEpoch(), x.GetMemberType(), x.GetSubscription().GetTopics(),
			s.shownPartitions(x.GetOwned().GetPartitions()), s.shownPartitions(x.GetTarget().GetPartitions()))
	}
	return text
}
