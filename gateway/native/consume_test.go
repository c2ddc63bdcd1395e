package native_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"moldau.dev/gateway/native"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

// reader is one Consume stream, and what came of it.
type reader struct {
	x      *grouped
	frames chan *moldauv1.ConsumeResponse
	cut    context.CancelFunc
	ended  chan error
	taking sync.WaitGroup

	mu     sync.Mutex // of what follows
	member *moldauv1.GroupMember
	token  string
	holds  map[int32]int64 // next offset by partition of "t"
	values []string
}

// consume opens a stream at a gateway. Frames wait until they are taken, as in a
// window that is shut.
func (x *grouped) consume(at *native.Server, req *moldauv1.ConsumeRequest) *reader {
	ctx, cut := context.WithCancel(x.Context())
	r := &reader{x: x, frames: make(chan *moldauv1.ConsumeResponse), cut: cut, ended: make(chan error, 1), holds: map[int32]int64{}}
	req.GroupId = "g"
	if len(req.Topics) == 0 && req.GetTopicPattern() == "" {
		req.Topics = []string{"t"}
	}
	go func() {
		err := at.Consume(ctx, req, func(f *moldauv1.ConsumeResponse) error {
			select {
			case r.frames <- f:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(r.frames)
		r.ended <- err
	}()
	x.Cleanup(cut)
	return r
}

// next takes frames until want holds of one, which it returns.
func (r *reader) next(want func(*moldauv1.ConsumeResponse) bool) *moldauv1.ConsumeResponse {
	r.x.Helper()
	for f := range r.frames {
		r.note(f)
		if want(f) {
			return f
		}
	}
	r.x.Fatalf("the stream has ended: %v", <-r.ended)
	return nil
}

func (r *reader) note(f *moldauv1.ConsumeResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	places := func(list []*moldauv1.ConsumePlace) {
		clear(r.holds)
		for _, p := range list {
			r.holds[p.GetPartition()] = p.GetNextOffset()
		}
	}
	switch f := f.GetFrame().(type) {
	case *moldauv1.ConsumeResponse_Joined:
		r.member, r.token = f.Joined.GetMember(), f.Joined.GetResumeToken()
		places(f.Joined.GetPlaces())
	case *moldauv1.ConsumeResponse_Assignment:
		r.member, r.token = f.Assignment.GetMember(), f.Assignment.GetResumeToken()
		places(f.Assignment.GetPlaces())
	case *moldauv1.ConsumeResponse_Heartbeat:
		r.member = f.Heartbeat.GetMember()
	case *moldauv1.ConsumeResponse_Reconnect:
		r.token = f.Reconnect.GetResumeToken()
	case *moldauv1.ConsumeResponse_Records:
		for _, rec := range f.Records.GetRecords() {
			r.values = append(r.values, string(rec.GetValue()))
			if rec.GetOffset() < r.holds[f.Records.GetPartition()] {
				r.x.Errorf("offset %d of %d comes again", rec.GetOffset(), f.Records.GetPartition())
			}
		}
		r.holds[f.Records.GetPartition()] = f.Records.GetNextOffset()
	}
}

func joined(f *moldauv1.ConsumeResponse) bool    { return f.GetJoined() != nil }
func revoked(f *moldauv1.ConsumeResponse) bool   { return f.GetRevoke() != nil }
func beats(f *moldauv1.ConsumeResponse) bool     { return f.GetHeartbeat() != nil }
func reconnect(f *moldauv1.ConsumeResponse) bool { return f.GetReconnect() != nil }

// holding waits until the member holds n partitions.
func (r *reader) holding(n int) {
	r.x.Helper()
	r.next(func(*moldauv1.ConsumeResponse) bool { return len(r.holds) == n })
}

// reads waits until n records have come.
func (r *reader) reads(n int) {
	r.x.Helper()
	for len(r.values) < n {
		r.next(func(f *moldauv1.ConsumeResponse) bool { return f.GetRecords() != nil })
	}
}

// takes reads in the background until the stream ends.
func (r *reader) takes() {
	r.taking.Go(func() {
		for f := range r.frames {
			r.note(f)
		}
	})
}

// end takes what is left, and returns why the stream ended.
func (r *reader) end() error {
	r.takes()
	r.taking.Wait()
	return <-r.ended
}

// read returns the values that came so far, in their order.
func (r *reader) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.values)
}

func (r *reader) commit(at *native.Server, release bool, offsets map[int32]int64) []*moldauv1.GroupOffset {
	r.x.Helper()
	req := &moldauv1.CommitRequest{GroupId: "g", MemberId: r.member.GetMemberId(), MemberEpoch: r.member.GetGeneration(), Release: release}
	for p := range int32(6) {
		if at, has := offsets[p]; has {
			req.Offsets = append(req.Offsets, &moldauv1.GroupOffset{Topic: "t", Partition: p, Offset: at})
		}
	}
	resp, err := at.Commit(r.x.Context(), req)
	if err != nil {
		r.x.Fatal(err)
	}
	return resp.GetOffsets()
}

func (x *grouped) committed(partition int32) int64 {
	x.Helper()
	resp, err := x.FetchOffsets(x.Context(), &moldauv1.FetchOffsetsRequest{GroupId: "g", Topics: []string{"t"}})
	if err != nil {
		x.Fatal(err)
	}
	return resp.GetOffsets()[partition].GetOffset()
}

func TestAMemberReadsItsShareFromTheCommittedOffsets(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b", "c")
		x.produce(3, "d")
		x.commit("g", 0, 1)
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{ClientId: "me"})
		f := r.next(joined).GetJoined()
		if len(f.GetPlaces()) != 6 || f.GetResumed() || f.GetMember().GetGeneration() < 1 || f.GetOrigin().GetClusterId() == "" {
			t.Errorf("%v", f)
		}
		if r.holds[0] != 1 || r.holds[3] != 0 {
			t.Errorf("begins at %v", r.holds)
		}
		r.reads(3)
		slices.Sort(r.values)
		if fmt.Sprint(r.values) != "[b c d]" {
			t.Error(r.values)
		}
		if g := x.group("g"); len(g.GetMembers()) != 1 || g.GetMembers()[0].GetClientId() != "me" {
			t.Errorf("%v", g.GetMembers())
		}
		x.produce(5, "late")
		r.reads(4)
		beat := r.next(beats).GetHeartbeat()
		if len(beat.GetPlaces()) != 6 || beat.GetPlaces()[0].GetLag() != 0 {
			t.Errorf("%v", beat)
		}
	})
}

// TestAMemberThatLosesPartitionsCommitsThemFirst is the barrier: a partition
// moves once all that came of it is committed, and not before.
func TestAMemberThatLosesPartitionsCommitsThemFirst(t *testing.T) {
	inGroups(t, func(x *grouped) {
		for p := range int32(6) {
			x.produce(p, fmt.Sprint("a", p))
		}
		first := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		first.next(joined)
		first.reads(6)
		other := x.gateway()
		defer other.Close()
		second := x.consume(other, &moldauv1.ConsumeRequest{})
		second.next(joined)
		if len(second.holds) != 0 {
			t.Errorf("it holds %v while the first has all", second.holds)
		}
		revoke := first.next(revoked).GetRevoke()
		lost := revoke.GetPartitions()[0].GetPartitions()
		if len(lost) != 3 || revoke.GetTimeout().AsDuration() != 30*time.Second {
			t.Errorf("%v", revoke)
		}
		second.next(beats)
		second.next(beats)
		if len(second.holds) != 0 {
			t.Errorf("it holds %v, and nothing is committed", second.holds)
		}
		before := time.Now()
		offsets := map[int32]int64{}
		for _, p := range lost {
			offsets[p] = 1
		}
		first.commit(other, false, offsets) // by another gateway than the stream's
		first.holding(3)
		second.holding(3)
		if waited := time.Since(before); waited > 10*time.Second {
			t.Errorf("that took %s", waited)
		}
		for p := range second.holds {
			if second.holds[p] != 1 || !slices.Contains(lost, p) {
				t.Errorf("it reads %v", second.holds)
			}
		}
		if refused := first.commit(x.Server, false, map[int32]int64{lost[0]: 9}); refused[0].GetError().GetReason() != string(errcode.StaleMemberEpoch) || x.committed(lost[0]) != 1 {
			t.Errorf("%v", refused)
		}
	})
}

func TestPartitionsGoAtTheDeadlineAlsoFromAReaderThatDoesNotRead(t *testing.T) {
	inGroups(t, func(x *grouped) {
		for p := range int32(6) {
			x.produce(p, "a")
		}
		first := x.consume(x.Server, &moldauv1.ConsumeRequest{RevokeTimeout: durationpb.New(20 * time.Second)})
		first.next(joined)
		first.reads(6) // and nothing from here on
		second := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		start := time.Now()
		second.holding(3)
		if waited := time.Since(start); waited < 20*time.Second || waited > 40*time.Second {
			t.Errorf("it holds them after %s", waited)
		}
		second.reads(3) // again, as they were not committed
	})
}

func TestWhatNothingCameOfGoesAtOnceAndTheRestIsGivenUp(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a")
		x.produce(1, "a")
		x.produce(5, "a")
		first := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		first.next(joined)
		first.reads(3)
		second := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		second.next(joined)
		first.next(revoked)
		first.commit(x.Server, true, nil)
		before := time.Now()
		second.holding(3)
		if waited := time.Since(before); waited > 6*time.Second {
			t.Errorf("that took %s", waited)
		}
	})
	inGroups(t, func(x *grouped) { // nothing was ever sent
		first := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		first.next(joined)
		first.takes()
		second := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		before := time.Now()
		second.holding(3)
		if waited := time.Since(before); waited > 10*time.Second {
			t.Errorf("that took %s", waited)
		}
	})
}

// TestAMemberGoesOnAtAnotherGateway when its own drains: as the same member, at
// the next record, without a rebalance.
func TestAMemberGoesOnAtAnotherGateway(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b")
		draining := x.gateway()
		r := x.consume(draining, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.reads(2)
		id, epoch := r.member.GetMemberId(), x.group("g").GetEpoch()
		draining.Drain()
		r.next(reconnect)
		if err := r.end(); err != nil || r.token == "" {
			t.Fatalf("%v, %q", err, r.token)
		}
		draining.Close()
		x.produce(0, "c")
		on := x.consume(x.Server, &moldauv1.ConsumeRequest{ResumeToken: r.token})
		f := on.next(joined).GetJoined()
		if !f.GetResumed() || f.GetMember().GetMemberId() != id || on.holds[0] != 2 {
			t.Errorf("%v", f)
		}
		on.reads(1)
		if on.values[0] != "c" || x.group("g").GetEpoch() != epoch {
			t.Errorf("%v, epoch %d, was %d", on.values, x.group("g").GetEpoch(), epoch)
		}
	})
}

// TestABrokenStreamGoesOnWithItsToken from the committed offsets; who does not
// come back leaves the group when it has lingered.
func TestABrokenStreamGoesOnWithItsToken(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b")
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.reads(2)
		r.commit(x.Server, false, map[int32]int64{0: 1})
		r.cut()
		_ = r.end() // it was cut
		time.Sleep(9 * time.Second)
		on := x.consume(x.Server, &moldauv1.ConsumeRequest{ResumeToken: r.token})
		if f := on.next(joined).GetJoined(); !f.GetResumed() || on.holds[0] != 1 {
			t.Errorf("%v", f)
		}
		on.takes()
		time.Sleep(30 * time.Second) // the first stream's time to come back is long over
		if n := len(x.group("g").GetMembers()); n != 1 {
			t.Errorf("%d members", n)
		}
		on.cut()
		_ = on.end() // it was cut
		time.Sleep(11 * time.Second)
		if n := len(x.group("g").GetMembers()); n != 0 {
			t.Errorf("%d members after it has lingered", n)
		}
		again := x.consume(x.Server, &moldauv1.ConsumeRequest{ResumeToken: on.token})
		if f := again.next(joined).GetJoined(); f.GetResumed() || f.GetMember().GetMemberId() == on.member.GetMemberId() {
			t.Errorf("it goes on as a member that is gone: %v", f)
		}
	})
}

func TestAMemberHasOneStream(t *testing.T) {
	inGroups(t, func(x *grouped) {
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.takes()
		other := x.gateway()
		defer other.Close()
		on := x.consume(other, &moldauv1.ConsumeRequest{ResumeToken: r.token})
		on.next(joined)
		on.takes()
		if err := r.end(); !errcode.Is(err, errcode.StreamTakenOver) {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
		if n := len(x.group("g").GetMembers()); n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

// TestAMemberGetsNoMoreThanItsCredit: what is committed, by any gateway, makes
// room for more.
func TestAMemberGetsNoMoreThanItsCredit(t *testing.T) {
	inGroups(t, func(x *grouped) {
		for i := range 20 {
			x.produce(int32(i%2), fmt.Sprint(i))
		}
		other := x.gateway()
		defer other.Close()
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{MaxUncommittedRecords: 3})
		r.next(joined)
		want := func(n int) {
			t.Helper()
			r.reads(n)
			r.next(beats)
			r.next(beats)
			if len(r.values) != n {
				t.Errorf("%d records came, the credit is good for %d", len(r.values), n)
			}
		}
		want(3)
		for _, at := range []*native.Server{other, x.Server, other, x.Server} {
			before := len(r.values)
			r.commit(at, false, map[int32]int64{0: r.holds[0], 1: r.holds[1]})
			want(before + 3)
		}
	})
}

// TestAStaticMemberComesBackToItsShare: nobody else hears that it was away
// (KIP-345), longer than it lingers.
func TestAStaticMemberComesBackToItsShare(t *testing.T) {
	inGroups(t, func(x *grouped) {
		first := x.consume(x.Server, &moldauv1.ConsumeRequest{InstanceId: "one", Linger: durationpb.New(time.Second)})
		first.next(joined)
		second := x.consume(x.Server, &moldauv1.ConsumeRequest{InstanceId: "two"})
		second.next(joined)
		first.takes()
		second.holding(3)
		epoch, had := second.member.GetGeneration(), slices.Sorted(maps.Keys(second.holds))
		first.cut()
		_ = first.end()
		time.Sleep(20 * time.Second)
		other := x.gateway()
		defer other.Close()
		again := x.consume(other, &moldauv1.ConsumeRequest{InstanceId: "one"})
		if f := again.next(joined).GetJoined(); f.GetResumed() || len(f.GetPlaces()) != 3 {
			t.Errorf("%v", f)
		}
		second.next(beats)
		if now := slices.Sorted(maps.Keys(second.holds)); !slices.Equal(now, had) || second.member.GetGeneration() != epoch {
			t.Errorf("the other has %v in epoch %d, had %v in %d", now, second.member.GetGeneration(), had, epoch)
		}
		if _, err := x.Leave(x.Context(), &moldauv1.LeaveRequest{GroupId: "g", MemberId: again.member.GetMemberId()}); err != nil {
			t.Fatal(err)
		}
		second.holding(6)
	})
}

// TestTwoOfOneInstanceAreOne: who comes later goes on, whoever was there ends.
func TestTwoOfOneInstanceAreOne(t *testing.T) {
	inGroups(t, func(x *grouped) {
		first := x.consume(x.Server, &moldauv1.ConsumeRequest{InstanceId: "one"})
		first.next(joined)
		first.takes()
		other := x.gateway()
		defer other.Close()
		second := x.consume(other, &moldauv1.ConsumeRequest{InstanceId: "one"})
		if f := second.next(joined).GetJoined(); len(f.GetPlaces()) != 6 {
			t.Errorf("%v", f)
		}
		second.takes()
		if err := first.end(); !errcode.Is(err, errcode.FencedInstance) {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
		if n := len(x.group("g").GetMembers()); n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

func TestAMemberSeeksByAnyGateway(t *testing.T) {
	inGroups(t, func(x *grouped) {
		x.produce(0, "a", "b", "c")
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.reads(3)
		r.commit(x.Server, false, map[int32]int64{0: 3})
		other := x.gateway()
		defer other.Close()
		req := &moldauv1.SeekRequest{GroupId: "g", MemberId: r.member.GetMemberId(), MemberEpoch: r.member.GetGeneration(), Topics: []*moldauv1.ReadTopic{{
			Topic: "t", Partitions: []*moldauv1.ReadPartition{{Partition: 0, Position: &moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: 2}}}},
		}}}
		resp, err := other.Seek(x.Context(), req)
		if err != nil || len(resp.GetOffsets()) != 1 || resp.GetOffsets()[0].GetOffset() != 1 || resp.GetResumeToken() == "" {
			t.Fatalf("%v, %v", resp, err)
		}
		r.next(reconnect)
		on := x.consume(x.Server, &moldauv1.ConsumeRequest{ResumeToken: r.token})
		if f := on.next(joined).GetJoined(); !f.GetResumed() || f.GetMember().GetMemberId() != r.member.GetMemberId() {
			t.Errorf("%v", f)
		}
		on.reads(2)
		if fmt.Sprint(on.values) != "[b c]" {
			t.Error(on.values)
		}
	})
}

func TestWhoLeavesIsGoneAtOnce(t *testing.T) {
	inGroups(t, func(x *grouped) {
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		other := x.gateway()
		defer other.Close()
		away := x.consume(other, &moldauv1.ConsumeRequest{})
		away.next(joined)
		r.takes()
		for range 2 { // it may be repeated
			if _, err := x.Leave(x.Context(), &moldauv1.LeaveRequest{GroupId: "g", MemberId: r.member.GetMemberId()}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
		if _, err := x.Leave(x.Context(), &moldauv1.LeaveRequest{GroupId: "g", MemberId: away.member.GetMemberId()}); err != nil {
			t.Fatal(err)
		}
		if f := away.next(reconnect).GetReconnect(); f.GetResumeToken() != "" || f.GetReason() == "" {
			t.Errorf("%v", f)
		}
		if n := len(x.group("g").GetMembers()); n != 0 {
			t.Errorf("%d members", n)
		}
	})
}

func TestAReaderThatTakesNothingIsRemoved(t *testing.T) {
	inGroups(t, func(x *grouped) {
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{StallTimeout: durationpb.New(time.Minute)})
		r.next(joined)
		time.Sleep(59 * time.Second)
		if n := len(x.group("g").GetMembers()); n != 1 {
			t.Errorf("%d members", n)
		}
		time.Sleep(10 * time.Second)
		if n := len(x.group("g").GetMembers()); n != 0 {
			t.Errorf("%d members", n)
		}
		if f := r.next(reconnect).GetReconnect(); f.GetResumeToken() != "" {
			t.Errorf("%v", f)
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestAMemberWithoutACoordinatorGivesOutNothing once it may have been removed;
// and goes on when the coordinator is back.
func TestAMemberWithoutACoordinatorGivesOutNothing(t *testing.T) {
	inGroups(t, func(x *grouped) {
		r := x.consume(x.Server, &moldauv1.ConsumeRequest{})
		r.next(joined)
		r.takes()
		time.Sleep(10 * time.Second)
		x.groups.gone.set(errcode.New(errcode.CoordinatorUnavailable, "gone"))
		time.Sleep(10 * time.Second)
		x.produce(0, "in doubt")
		time.Sleep(24 * time.Second)
		x.produce(0, "too late")
		time.Sleep(4 * time.Second)
		if r.read() != "[in doubt]" {
			t.Error(r.read())
		}
		x.groups.gone.set(nil)
		time.Sleep(2 * time.Second)
		if r.read() != "[in doubt too late]" {
			t.Error(r.read())
		}
		x.groups.gone.set(errcode.New(errcode.CoordinatorUnavailable, "gone"))
		time.Sleep(time.Minute)
		x.groups.gone.set(nil)
		if err := r.end(); err != nil || r.token != "" {
			t.Errorf("it was removed, and hears %v, %q", err, r.token)
		}
	})
}
