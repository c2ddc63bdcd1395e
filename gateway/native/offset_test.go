package native_test

import (
	"fmt"
	"strings"
	"testing"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

func TestOffsetsAreCommittedNowOrWithATransaction(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		var asked []string
		tries := 0
		x.c.commit = func(as string, offsets []*coordinatorv1.Offset) ([]*coordinatorv1.PartError, error) {
			asked = append(asked, as)
			if tries++; tries == 1 {
				return nil, errcode.New(errcode.CoordinatorLoading, "loading")
			}
			errs := []*coordinatorv1.PartError{{}, {Reason: string(errcode.OffsetMetadataTooLarge), Message: "too large"}}
			if tries == 2 {
				errs[0].Reason = string(errcode.ConcurrentTransactions)
			}
			if len(offsets[0].GetTopicId()) != 16 || offsets[0].GetLeaderEpoch() != -1 || offsets[1].GetLeaderEpoch() != 3 || offsets[1].GetOffset() != 9 {
				x.Errorf("sent %v", offsets)
			}
			return errs, nil
		}
		three := int32(3)
		req := &moldauv1.CommitOffsetsRequest{GroupId: "g", Offsets: []*moldauv1.GroupOffset{
			{Topic: "t", Partition: 0, Offset: 5, Metadata: "m"}, {Topic: "t", Partition: 1, Offset: 9, LeaderEpoch: &three},
		}}
		want := []string{`commit g as "" in -1`}
		for _, in := range []*moldauv1.TransactionHandle{nil, handle(4)} {
			req.Transaction = in
			resp, err := x.CommitOffsets(x.call(), req)
			if err != nil || len(resp.GetOffsets()) != 2 || resp.GetOffsets()[0].GetError() != nil || resp.GetOffsets()[0].GetMetadata() != "m" ||
				resp.GetOffsets()[1].GetError().GetReason() != string(errcode.OffsetMetadataTooLarge) {
				x.Errorf("got %v, %v", resp, err)
			}
		}
		want = append(want, want[0], want[0], "commit g of app 5/4 implicit=true")
		if fmt.Sprint(asked) != fmt.Sprint(want) {
			x.Errorf("asked %q, want %q", asked, want)
		}
		req.Transaction, req.Member = nil, &moldauv1.GroupMember{MemberId: "m-1", Generation: 2}
		if _, err := x.CommitOffsets(x.call(), req); err != nil || asked[len(asked)-1] != `commit g as "m-1" in 2` {
			x.Errorf("asked %q, %v", asked, err)
		}
	})
}

func TestBadCommitsAreRefusedByField(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		for field, change := range map[string]func(*moldauv1.CommitOffsetsRequest){
			"group_id":                     func(r *moldauv1.CommitOffsetsRequest) { r.GroupId = "" },
			"offsets":                      func(r *moldauv1.CommitOffsetsRequest) { r.Offsets = nil },
			"offsets[0].topic":             func(r *moldauv1.CommitOffsetsRequest) { r.Offsets[0].Topic = "none" },
			"offsets[0].partition":         func(r *moldauv1.CommitOffsetsRequest) { r.Offsets[0].Partition = 2 },
			"offsets[0].offset":            func(r *moldauv1.CommitOffsetsRequest) { r.Offsets[0].Offset = -1 },
			"offsets[0].metadata":          func(r *moldauv1.CommitOffsetsRequest) { r.Offsets[0].Metadata = strings.Repeat("x", 4097) },
			"offsets[0].error":             func(r *moldauv1.CommitOffsetsRequest) { r.Offsets[0].Error = &moldauv1.RangeError{} },
			"member":                       func(r *moldauv1.CommitOffsetsRequest) { r.Member = &moldauv1.GroupMember{} },
			"transaction.transactional_id": func(r *moldauv1.CommitOffsetsRequest) { r.Transaction = &moldauv1.TransactionHandle{} },
		} {
			req := &moldauv1.CommitOffsetsRequest{GroupId: "g", Offsets: []*moldauv1.GroupOffset{{Topic: "t"}}}
			change(req)
			if _, err := x.CommitOffsets(x.call(), req); errcode.Of(err) == nil || errcode.Of(err).Field != field {
				x.Errorf("%s: %v", field, err)
			}
		}
	})
}

// TestStableOffsetsAreWaitedFor: a transaction that still completes holds them.
func TestStableOffsetsAreWaitedFor(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		view := func(partition int32, offset int64) *coordinatorv1.Offset {
			return &coordinatorv1.Offset{Topic: "t", Partition: partition, Offset: offset, LeaderEpoch: -1, Metadata: "m"}
		}
		n, always := 0, false
		x.c.fetch = func(g *coordinatorv1.FetchGroupOffsets) (*coordinatorv1.GroupOffsets, error) {
			if len(g.GetKeys()) != 2 || g.GetAll() {
				x.Errorf("asked %v", g)
			}
			found := &coordinatorv1.GroupOffsets{Offsets: []*coordinatorv1.Offset{view(1, 8), view(0, 4)}, Errors: []*coordinatorv1.PartError{{}, {}}}
			if n++; n < 4 || always {
				found.Errors[1].Reason = string(errcode.UnstableOffset)
			}
			return found, nil
		}
		ask := &moldauv1.FetchOffsetsRequest{GroupId: "g", Topics: []string{"t"}, RequireStable: true}
		resp, err := x.FetchOffsets(x.call(), ask)
		if err != nil || n != 4 || len(resp.GetOffsets()) != 2 || resp.GetOffsets()[0].GetOffset() != 4 || resp.GetOffsets()[1].GetOffset() != 8 {
			x.Errorf("got %v, %v after %d", resp, err, n)
		}
		always = true // and where it takes too long, that is said
		resp, err = x.FetchOffsets(x.call(), ask)
		if err != nil || resp.GetOffsets()[0].GetOffset() != -1 || resp.GetOffsets()[0].GetError().GetReason() != string(errcode.UnstableOffset) || resp.GetOffsets()[1].GetError() != nil {
			x.Errorf("got %v, %v", resp, err)
		}
	})
}

func TestAGroupThatIsNotKnownHasNoOffsets(t *testing.T) {
	inTransactions(t, func(x *transactional) {
		x.c.fetch = func(*coordinatorv1.FetchGroupOffsets) (*coordinatorv1.GroupOffsets, error) {
			return &coordinatorv1.GroupOffsets{Error: &coordinatorv1.PartError{Reason: string(errcode.UnknownGroup)}}, nil
		}
		resp, err := x.FetchOffsets(x.call(), &moldauv1.FetchOffsetsRequest{GroupId: "g", Topics: []string{"t"}})
		if err != nil || len(resp.GetOffsets()) != 2 || resp.GetOffsets()[1].GetOffset() != -1 || resp.GetOffsets()[1].GetPartition() != 1 {
			x.Errorf("got %v, %v", resp, err)
		}
		resp, err = x.FetchOffsets(x.call(), &moldauv1.FetchOffsetsRequest{GroupId: "g"})
		if err != nil || len(resp.GetOffsets()) != 0 {
			x.Errorf("got %v, %v", resp, err)
		}
		// Offsets of topics that are gone are not shown.
		x.c.fetch = func(g *coordinatorv1.FetchGroupOffsets) (*coordinatorv1.GroupOffsets, error) {
			if !g.GetAll() {
				x.Errorf("asked %v", g)
			}
			return &coordinatorv1.GroupOffsets{Offsets: []*coordinatorv1.Offset{{TopicId: make([]byte, 16), Offset: 3}}}, nil
		}
		if resp, err = x.FetchOffsets(x.call(), &moldauv1.FetchOffsetsRequest{GroupId: "g"}); err != nil || len(resp.GetOffsets()) != 0 {
			x.Errorf("got %v, %v", resp, err)
		}
		if _, err := x.FetchOffsets(x.call(), &moldauv1.FetchOffsetsRequest{}); !errcode.Is(err, errcode.InvalidGroupID) {
			x.Errorf("got %v", err)
		}
	})
}
