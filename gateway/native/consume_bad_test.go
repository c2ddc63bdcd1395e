package native_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

func TestConsumeRefusesWhatCannotBe(t *testing.T) {
	inGroups(t, func(x *grouped) {
		good := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		good.next(joined)
		good.takes()
		at := func(p *moldauv1.Position) *moldauv1.ConsumeRequest {
			return &moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, Begin: p}
		}
		long := make([]string, 1001)
		for i := range long {
			long[i] = "t"
		}
		for name, bad := range map[string]struct {
			req   *moldauv1.ConsumeRequest
			want  errcode.Reason
			field string
		}{
			"no group":             {&moldauv1.ConsumeRequest{Topics: []string{"t"}}, errcode.InvalidGroupID, "group_id"},
			"no topics":            {&moldauv1.ConsumeRequest{GroupId: "g"}, errcode.InvalidArgument, "topics"},
			"too many topics":      {&moldauv1.ConsumeRequest{GroupId: "g", Topics: long}, errcode.InvalidArgument, "topics"},
			"a topic twice":        {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t", "t"}}, errcode.InvalidArgument, "topics"},
			"a topic without name": {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{""}}, errcode.InvalidArgument, "topics"},
			"no such topic":        {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t", "u"}}, errcode.UnknownTopic, "topics"},
			"no expression":        {&moldauv1.ConsumeRequest{GroupId: "g", TopicPattern: "("}, errcode.InvalidRegularExpression, ""},
			"a long expression":    {&moldauv1.ConsumeRequest{GroupId: "g", TopicPattern: strings.Repeat("a", 4097)}, errcode.InvalidRegularExpression, "topic_pattern"},
			"no such assignor":     {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, Assignor: "mine"}, errcode.UnsupportedAssignor, ""},
			"a long client id":     {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, ClientId: strings.Repeat("a", 256)}, errcode.InvalidArgument, "client_id"},
			"an offset to begin":   {at(&moldauv1.Position{At: &moldauv1.Position_Offset{Offset: 1}}), errcode.InvalidArgument, "begin"},
			"before time began":    {at(&moldauv1.Position{At: &moldauv1.Position_Time{Time: timestamppb.New(time.Unix(-1, 0))}}), errcode.InvalidArgument, "begin.time"},
			"after the end":        {at(&moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: -1}}), errcode.InvalidArgument, "begin.before_end"},
			"start that is false":  {at(&moldauv1.Position{At: &moldauv1.Position_Start{}}), errcode.InvalidArgument, "begin.start"},
			"negative frames":      {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, MaxBytes: -1}, errcode.InvalidArgument, "max_bytes"},
			"huge frames":          {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, MaxBytes: 4<<20 + 1}, errcode.InvalidArgument, "max_bytes"},
			"no time to commit":    {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, RevokeTimeout: durationpb.New(0)}, errcode.InvalidArgument, "revoke_timeout"},
			"all time to commit":   {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, RevokeTimeout: durationpb.New(11 * time.Minute)}, errcode.InvalidArgument, "revoke_timeout"},
			"no time to read":      {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, StallTimeout: durationpb.New(time.Millisecond)}, errcode.InvalidArgument, "stall_timeout"},
			"negative linger":      {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, Linger: durationpb.New(-1)}, errcode.InvalidArgument, "linger"},
			"no duration":          {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, Linger: &durationpb.Duration{Seconds: 1, Nanos: -1}}, errcode.InvalidArgument, "linger"},
			"no token":             {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, ResumeToken: "x"}, errcode.InvalidToken, "resume_token"},
			"half a token":         {&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}, ResumeToken: good.token[:len(good.token)-1]}, errcode.InvalidToken, "resume_token"},
			"another group's":      {&moldauv1.ConsumeRequest{GroupId: "h", Topics: []string{"t"}, ResumeToken: good.token}, errcode.InvalidToken, "resume_token"},
			"a group that is long": {&moldauv1.ConsumeRequest{GroupId: strings.Repeat("g", 1<<16), Topics: []string{"t"}}, errcode.InvalidGroupID, ""},
		} {
			err := x.Consume(x.Context(), bad.req, func(f *moldauv1.ConsumeResponse) error { return fmt.Errorf("%s: sent %v", name, f) })
			if errcode.ReasonOf(err) != bad.want || errcode.Of(err).Field != bad.field {
				t.Errorf("%s: %v, want %s of %q", name, err, bad.want, bad.field)
			}
		}
	})
}

func TestCommitSeekAndLeaveRefuseWhatCannotBe(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a")
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.takes()
		id, epoch := r.member.GetMemberId(), r.member.GetGeneration()
		offset := func(topic string, p int32, at int64) []*moldauv1.GroupOffset {
			return []*moldauv1.GroupOffset{{Topic: topic, Partition: p, Offset: at}}
		}
		for name, bad := range map[string]struct {
			req   *moldauv1.CommitRequest
			want  errcode.Reason
			field string
		}{
			"no group":       {&moldauv1.CommitRequest{MemberId: id, MemberEpoch: epoch, Offsets: offset("t", 0, 1)}, errcode.InvalidGroupID, "group_id"},
			"no member":      {&moldauv1.CommitRequest{GroupId: "g", MemberEpoch: epoch, Offsets: offset("t", 0, 1)}, errcode.InvalidArgument, "member_id"},
			"no epoch":       {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, Offsets: offset("t", 0, 1)}, errcode.InvalidArgument, "member_epoch"},
			"leaving":        {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, MemberEpoch: -1, Offsets: offset("t", 0, 1)}, errcode.InvalidArgument, "member_epoch"},
			"no offsets":     {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch}, errcode.InvalidArgument, "offsets"},
			"another group":  {&moldauv1.CommitRequest{GroupId: "h", MemberId: id, MemberEpoch: epoch, Offsets: offset("t", 0, 1)}, errcode.UnknownGroup, ""},
			"another member": {&moldauv1.CommitRequest{GroupId: "g", MemberId: "x", MemberEpoch: epoch, Offsets: offset("t", 0, 1)}, errcode.UnknownMember, ""},
			"epochs to come": {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch + 1, Offsets: offset("t", 0, 1)}, errcode.StaleMemberEpoch, ""},
			"no such topic":  {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Offsets: offset("u", 0, 1)}, errcode.UnknownTopic, "offsets[0].topic"},
			"no partition":   {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Offsets: offset("t", 6, 1)}, errcode.UnknownPartition, "offsets[0].partition"},
			"negative":       {&moldauv1.CommitRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Offsets: offset("t", 0, -1)}, errcode.InvalidArgument, "offsets[0].offset"},
			"gives up who":   {&moldauv1.CommitRequest{GroupId: "g", MemberId: "x", MemberEpoch: epoch, Release: true}, errcode.UnknownMember, ""},
		} {
			_, err := x.Commit(x.Context(), bad.req)
			if errcode.ReasonOf(err) != bad.want || errcode.Of(err).Field != bad.field {
				t.Errorf("commit, %s: %v, want %s of %q", name, err, bad.want, bad.field)
			}
		}
		places := func(topic string, p int32, at int64) []*moldauv1.ReadTopic {
			return []*moldauv1.ReadTopic{{Topic: topic, Partitions: []*moldauv1.ReadPartition{{Partition: p, Position: &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: at}}}}}}
		}
		twice := places("t", 0, 0)
		for name, bad := range map[string]struct {
			req   *moldauv1.SeekRequest
			want  errcode.Reason
			field string
		}{
			"no topics":       {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch}, errcode.InvalidArgument, "topics"},
			"another member":  {&moldauv1.SeekRequest{GroupId: "g", MemberId: "x", MemberEpoch: epoch, Topics: places("t", 0, 0)}, errcode.UnknownMember, ""},
			"another group":   {&moldauv1.SeekRequest{GroupId: "h", MemberId: id, MemberEpoch: epoch, Topics: places("t", 0, 0)}, errcode.UnknownGroup, ""},
			"no such topic":   {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Topics: places("u", 0, 0)}, errcode.UnknownTopic, "topics[0].topic"},
			"no partition":    {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Topics: places("t", 6, 0)}, errcode.UnknownPartition, "topics[0].partitions"},
			"a topic twice":   {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Topics: append(twice, twice...)}, errcode.InvalidArgument, "topics[1].partitions"},
			"beyond the end":  {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Topics: places("t", 0, 2)}, errcode.OffsetOutOfRange, ""},
			"no place":        {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch, Topics: places("t", 0, -1)}, errcode.InvalidArgument, "topics[0].partitions.position.offset"},
			"epochs to come":  {&moldauv1.SeekRequest{GroupId: "g", MemberId: id, MemberEpoch: epoch + 1, Topics: places("t", 0, 0)}, errcode.StaleMemberEpoch, ""},
			"a member's none": {&moldauv1.SeekRequest{GroupId: "g", Topics: places("t", 0, 0)}, errcode.InvalidArgument, "member_id"},
		} {
			_, err := x.Seek(x.Context(), bad.req)
			if errcode.ReasonOf(err) != bad.want || errcode.Of(err).Field != bad.field {
				t.Errorf("seek, %s: %v, want %s of %q", name, err, bad.want, bad.field)
			}
		}
		if _, err := x.Leave(x.Context(), &moldauv1.LeaveRequest{MemberId: id}); !errcode.Is(err, errcode.InvalidGroupID) {
			t.Error(err)
		}
		if _, err := x.Leave(x.Context(), &moldauv1.LeaveRequest{GroupId: "g"}); !errcode.Is(err, errcode.InvalidArgument) {
			t.Error(err)
		}
		if r.cut(); r.end() == nil || x.committed(0) != -1 {
			t.Errorf("committed %d", x.committed(0))
		}
	})
}

// TestTopicsComeAndGo under a pattern, and while they are read.
func TestTopicsComeAndGo(t *testing.T) {
	inGroups(t, func(x *grouped) {
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{TopicPattern: "new.*|t"})
		r.next(joined)
		if _, err := x.meta.CreateTopic(x.Context(), &metadatav1.CreateTopicRequest{Name: "newer", PartitionCount: 2}); err != nil {
			t.Fatal(err)
		}
		part := int32(1)
		if _, err := x.Produce(x.Context(), &moldauv1.ProduceRequest{Topic: "newer", Partition: &part, Records: []*moldauv1.Record{{Value: []byte("n")}}}); err != nil {
			t.Fatal(err)
		}
		r.reads(1)
		if _, err := x.DeleteTopic(x.Context(), &moldauv1.DeleteTopicRequest{Name: "newer"}); err != nil {
			t.Fatal(err)
		}
		r.next(func(f *moldauv1.ConsumeResponse) bool { return len(f.GetAssignment().GetPlaces()) == 6 })
		x.produce(0, "still")
		r.reads(2)
	})
}

// TestALostPlaceIsFoundAgain where the request says to begin.
func TestALostPlaceIsFoundAgain(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b", "c", "d")
		x.commit("g", 0, 1)
		if _, err := x.TrimTopic(x.Context(), &moldauv1.TrimTopicRequest{Name: "t", Partitions: []*moldauv1.TrimPartition{{Partition: 0, BeforeOffset: 2}}}); err != nil {
			t.Fatal(err)
		}
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.reads(2)
		if r.read() != "[c d]" {
			t.Error(r.read())
		}
		end := x.consume(x.Server, &moldauv1.ConsumeRequest{Begin: &moldauv1.Position{At: &moldauv1.Position_End{End: true}}})
		if end.next(joined); len(end.holds) != 0 {
			t.Errorf("%v", end.holds)
		}
	})
}
