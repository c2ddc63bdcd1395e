package gatewayclient_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

// scripted is a ConsumeService whose streams are told in advance: each gives
// its frames and ends.
type scripted struct {
	moldauv1.UnimplementedConsumeServiceServer
	streams [][]*moldauv1.ConsumeResponse
	breaks  map[int]error // how a stream ends; by itself where there is none

	mu      sync.Mutex
	tokens  []string // that streams were opened with
	commits []string
	left    []string
}

func (s *scripted) Consume(req *moldauv1.ConsumeRequest, stream grpc.ServerStreamingServer[moldauv1.ConsumeResponse]) error {
	s.mu.Lock()
	n := len(s.tokens)
	s.tokens = append(s.tokens, req.GetResumeToken())
	s.mu.Unlock()
	if n >= len(s.streams) {
		return nil
	}
	for _, f := range s.streams[n] {
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	return s.breaks[n]
}

func (s *scripted) Commit(_ context.Context, req *moldauv1.CommitRequest) (*moldauv1.CommitResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &moldauv1.CommitResponse{}
	for _, o := range req.GetOffsets() {
		s.commits = append(s.commits, fmt.Sprintf("%s@%d %s-%d=%d", req.GetMemberId(), req.GetMemberEpoch(), o.GetTopic(), o.GetPartition(), o.GetOffset()))
		resp.Offsets = append(resp.Offsets, &moldauv1.GroupOffset{Topic: o.GetTopic(), Partition: o.GetPartition(), Offset: o.GetOffset()})
	}
	return resp, nil
}

func (s *scripted) Leave(_ context.Context, req *moldauv1.LeaveRequest) (*moldauv1.LeaveResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = append(s.left, req.GetMemberId())
	return &moldauv1.LeaveResponse{}, nil
}

func (s *scripted) consumer(t *testing.T, o gatewayclient.ConsumerOptions) *gatewayclient.Consumer {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	moldauv1.RegisterConsumeServiceServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(lis) })
	client, err := gatewayclient.Dial(lis.Addr().String(), gatewayclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); server.Stop(); serving.Wait() })
	return client.NewConsumer(&moldauv1.ConsumeRequest{GroupId: "g", Topics: []string{"t"}}, o)
}

func joinedFrame(member string, epoch int32, token string, resumed bool) *moldauv1.ConsumeResponse {
	return &moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Joined{Joined: &moldauv1.ConsumeJoined{
		Member: &moldauv1.GroupMember{MemberId: member, Generation: epoch}, ResumeToken: token, Resumed: resumed,
	}}}
}

func recordsFrame(partition int32, first, n int64) *moldauv1.ConsumeResponse {
	r := &moldauv1.ReadRecords{Topic: "t", Partition: partition, NextOffset: first + n}
	for i := range n {
		r.Records = append(r.Records, &moldauv1.Record{Offset: first + i})
	}
	return &moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Records{Records: r}}
}

func revokeFrame() *moldauv1.ConsumeResponse {
	return &moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Revoke{Revoke: &moldauv1.ConsumeRevoke{}}}
}

func reconnectFrame(token string) *moldauv1.ConsumeResponse {
	return &moldauv1.ConsumeResponse{Frame: &moldauv1.ConsumeResponse_Reconnect{Reconnect: &moldauv1.ConsumeReconnect{ResumeToken: token}}}
}

// offsets reads until the loop ends by itself, or after most messages.
func offsets(t *testing.T, m *gatewayclient.Consumer, most int) (list []int64, err error) {
	t.Helper()
	for x, err := range m.Messages(t.Context()) {
		if err != nil {
			return list, err
		}
		if list = append(list, x.GetOffset()); len(list) == most {
			return list, nil
		}
	}
	return list, nil
}

func wantEqual[E comparable](t *testing.T, what string, got []E, want ...E) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestAConsumerCommitsBeforeItsPartitionsGoAndGoesOnWithTheNewestToken(t *testing.T) {
	s := &scripted{
		streams: [][]*moldauv1.ConsumeResponse{
			{joinedFrame("a", 1, "first", false), recordsFrame(0, 0, 3), revokeFrame(), reconnectFrame("second")},
			{joinedFrame("a", 2, "third", true), recordsFrame(0, 3, 1)},
			{joinedFrame("a", 2, "fourth", true)},
		},
		breaks: map[int]error{1: status.Error(codes.Unavailable, "the gateway has died")},
	}
	m := s.consumer(t, gatewayclient.ConsumerOptions{})
	got, err := offsets(t, m, 100)
	if err != nil {
		t.Error(err)
	}
	wantEqual(t, "messages", got, 0, 1, 2, 3)
	wantEqual(t, "tokens", s.tokens, "", "second", "third")
	if n := len(s.commits); n < 2 || s.commits[n-2] != "a@1 t-0=3" || s.commits[n-1] != "a@2 t-0=4" {
		t.Errorf("commits: %v", s.commits)
	}
	if err := m.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	wantEqual(t, "who left", s.left, "a")
}

// TestAConsumerThatLostItsPlaceJoinsAnewAndCommitsNothingOfBefore: another may
// have its partitions by now.
func TestAConsumerThatLostItsPlaceJoinsAnewAndCommitsNothingOfBefore(t *testing.T) {
	s := &scripted{streams: [][]*moldauv1.ConsumeResponse{
		{joinedFrame("a", 1, "first", false), recordsFrame(0, 0, 3), reconnectFrame("")},
		{joinedFrame("b", 5, "second", false)},
	}}
	m := s.consumer(t, gatewayclient.ConsumerOptions{CommitInterval: 1 << 40})
	if _, err := offsets(t, m, 100); err != nil {
		t.Error(err)
	}
	wantEqual(t, "tokens", s.tokens, "", "")
	for _, c := range s.commits {
		if c[0] == 'b' {
			t.Errorf("commits: %v", s.commits)
		}
	}
}

func TestALoopThatIsLeftCommitsWhatWasDealtWithAndNoMore(t *testing.T) {
	for name, done := range map[string]bool{"the last one is not dealt with": false, "the last one is": true} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{streams: [][]*moldauv1.ConsumeResponse{{joinedFrame("a", 1, "first", false), recordsFrame(0, 0, 3)}}}
			m := s.consumer(t, gatewayclient.ConsumerOptions{CommitInterval: 1 << 40})
			want := "a@1 t-0=1"
			for x, err := range m.Messages(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if x.GetOffset() == 1 {
					if done {
						m.Done(x)
						want = "a@1 t-0=2"
					}
					break
				}
			}
			wantEqual(t, "the last commit", s.commits[len(s.commits)-1:], want)
		})
	}
}

func TestAConsumerWithoutAnIntervalCommitsWhenItIsAskedTo(t *testing.T) {
	s := &scripted{streams: [][]*moldauv1.ConsumeResponse{{joinedFrame("a", 1, "first", false), recordsFrame(0, 0, 3), revokeFrame()}}}
	m := s.consumer(t, gatewayclient.ConsumerOptions{CommitInterval: -1})
	if _, err := offsets(t, m, 100); err != nil {
		t.Error(err)
	}
	wantEqual(t, "commits", s.commits)
	if err := m.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	wantEqual(t, "commits", s.commits, "a@1 t-0=3")
}

func TestAConsumerEndsWithAnErrorThatNoNewTryMends(t *testing.T) {
	s := &scripted{streams: [][]*moldauv1.ConsumeResponse{{joinedFrame("a", 1, "first", false)}}, breaks: map[int]error{
		0: errcode.New(errcode.FencedInstance, "another has the instance id").GRPCStatus().Err(),
	}}
	m := s.consumer(t, gatewayclient.ConsumerOptions{})
	if _, err := offsets(t, m, 100); !errcode.Is(err, errcode.FencedInstance) {
		t.Errorf("%v", err)
	}
	wantEqual(t, "tokens", s.tokens, "")
}
