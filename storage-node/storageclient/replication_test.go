package storageclient

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/services/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a leader that says its frames and hears what it is told.
type scripted struct {
	Storage // which a follower never calls
	frames  []*LeaderFrame
	heard   chan *FollowerWords
	ends    error // after one message
}

func (s *scripted) ServeReplica(stream LeaderStream) error {
	for _, f := range s.frames {
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	for {
		w, err := stream.Recv()
		if err != nil {
			return err
		}
		s.heard <- w
		if s.ends != nil {
			return s.ends
		}
	}
}

// streams opens a stream to the leader in this process, and one over loopback.
func streams(t *testing.T, leader func() *scripted, use func(t *testing.T, l *scripted, s FollowerStream)) {
	t.Run("local", func(t *testing.T) {
		peers, l := NewPeers(transport.DialOptions{}), leader()
		peers.AddLocal(2, l)
		open(t, peers, "", l, use)
	})
	t.Run("remote", func(t *testing.T) {
		l := leader()
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := transport.NewServer(transport.Options{})
		Serve(server, l)
		served := make(chan error, 1)
		go func() { served <- server.Serve(lis) }()
		defer func() {
			server.Stop()
			<-served
		}()
		open(t, NewPeers(transport.DialOptions{}), lis.Addr().String(), l, use)
	})
}

func open(t *testing.T, p *Peers, address string, l *scripted, use func(*testing.T, *scripted, FollowerStream)) {
	t.Helper()
	s, err := p.Replicate(t.Context(), 2, address)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	use(t, l, s)
}

func TestWordsAndFramesArriveAsTheyWereSaid(t *testing.T) {
	topic, start := topicid.New(), int64(17)
	words := []*FollowerWords{
		{Hello: &ReplicaHello{ClusterID: "c", NodeID: 3, NodeEpoch: 9, WindowBytes: 1 << 40}},
		{
			Begins: []SessionBegin{{
				PartitionID: PartitionID{topic, 4}, Handle: 7, Session: 1 << 60, LeaderEpoch: 5, EndOffset: 10, DurableEnd: 8, LastEpoch: -1, WindowBytes: 99,
			}},
			Acks:         []SessionAck{{Handle: 7, EndOffset: 12, DurableEnd: 11, TakenBytes: 1 << 33}},
			Ends:         []uint32{6},
			Resignations: []Resignation{{PartitionID: PartitionID{topic, 1}, LeaderEpoch: 6}},
		},
		{},
	}
	small, large := []byte("few bytes"), bytes.Repeat([]byte("many"), 20<<10)
	said := func() (answers []SessionAnswer, data []SessionData) {
		return []SessionAnswer{
				{Handle: 1, Accept: &SessionAccept{From: 3, HighWatermark: 2, LogStart: 1}}, {Handle: 2, Diverge: &EpochEnd{Epoch: -1, EndOffset: 4}},
				{Handle: 3, Reset: &start}, {Handle: 4, Refuse: errcode.FencedLeaderEpoch},
			}, []SessionData{
				{Handle: 1, Base: 3, End: 5, HighWatermark: 3, LogStart: 1, Batches: small}, {Handle: 5, Base: 1, End: 1, HighWatermark: 1},
				{Handle: 6, Base: 0, End: 1000, Batches: large},
			}
	}
	var released atomic.Int32
	leader := func() *scripted {
		answers, data := said()
		return &scripted{heard: make(chan *FollowerWords, len(words)), frames: []*LeaderFrame{
			NewLeaderFrame(answers, data, func() { released.Add(1) }), NewLeaderFrame(nil, nil, func() { released.Add(1) }),
		}}
	}
	streams(t, leader, func(t *testing.T, l *scripted, s FollowerStream) {
		released.Store(0)
		for _, w := range words {
			if err := s.Send(w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w, <-l.heard, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("heard (-said +heard):\n%s", diff)
			}
		}
		answers, data := said()
		f, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(answers, f.Answers); diff != "" {
			t.Errorf("answers (-said +heard):\n%s", diff)
		}
		if diff := cmp.Diff(data, f.Data, cmp.Comparer(bytes.Equal)); diff != "" {
			t.Errorf("data (-said +heard):\n%s", diff)
		}
		f.Retain()
		f.Release()
		f.Release()
		if f, err = s.Recv(); err != nil || len(f.Answers)+len(f.Data) != 0 {
			t.Fatalf("a sign of life: %+v, %v", f, err)
		}
		f.Release()
	})
	if released.Load() != 2 {
		t.Errorf("%d of 2 frames were released", released.Load())
	}
}

func TestTheLeadersReasonReachesTheFollower(t *testing.T) {
	leader := func() *scripted {
		return &scripted{heard: make(chan *FollowerWords, 1), ends: errcode.New(errcode.StaleNodeEpoch, "an older one")}
	}
	streams(t, leader, func(t *testing.T, l *scripted, s FollowerStream) {
		if err := s.Send(&FollowerWords{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); !errcode.Is(err, errcode.StaleNodeEpoch) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAClosedStreamEndsBothSides(t *testing.T) {
	leader := func() *scripted { return &scripted{heard: make(chan *FollowerWords, 1)} }
	streams(t, leader, func(t *testing.T, l *scripted, s FollowerStream) {
		if err := s.Send(&FollowerWords{}); err != nil {
			t.Fatal(err)
		}
		<-l.heard
		s.Close()
		if _, err := s.Recv(); err == nil {
			t.Error("a closed stream gave a frame")
		}
	})
	if _, err := NewPeers(transport.DialOptions{}).Replicate(t.Context(), 5, ""); !errcode.Is(err, errcode.NodeUnavailable) {
		t.Errorf("a node without address: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	peers, l := NewPeers(transport.DialOptions{}), leader()
	peers.AddLocal(1, l)
	s, err := peers.Replicate(ctx, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Recv(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	s.Close()
}
