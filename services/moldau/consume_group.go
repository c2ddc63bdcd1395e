package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

const (
	commitInterval = time.Second
	// goodbyePatience bounds the last commit and the leaving.
	goodbyePatience = 5 * time.Second
	// rejoinPatience bounds how long a member looks for its gateway again.
	rejoinPatience = time.Minute
	rejoinPause    = 200 * time.Millisecond
)

func (f *consumeFlags) groupRequest(topics []string) (*moldauv1.ConsumeRequest, error) {
	if f.group == "" {
		return nil, usagef("--group: a name is needed")
	}
	if len(f.partitions) > 0 {
		return nil, usagef("-p and --group exclude each other: the group shares the partitions")
	}
	if f.records < 0 {
		return nil, usagef("-n %d: negative", f.records)
	}
	from := f.from
	if from == "" {
		from = "start"
	}
	begin, err := parsePosition(from, clock.Real().Now())
	if err != nil {
		return nil, err
	}
	if _, offset := begin.GetAt().(*moldauv1.Position_Offset); offset {
		return nil, usagef("--from %s: an offset is no place for a whole group; see moldau group seek", from)
	}
	host, _ := os.Hostname() // empty where it is not known
	return &moldauv1.ConsumeRequest{
		GroupId: f.group, Topics: topics, Begin: begin, ReadCommitted: f.committed, MaxBytes: readChunkBytes, ClientId: "moldau consume@" + host,
	}, nil
}

// consumeShare writes the records that a member of a group gets, until it has
// what it wants or is interrupted, and commits what it has written.
func (g *stubs) consumeShare(ctx context.Context, req *moldauv1.ConsumeRequest, f *consumeFlags, out io.Writer, show printer) error {
	s := &shareReader{
		service: moldauv1.NewConsumeServiceClient(g.conn), req: req, out: bufio.NewWriterSize(out, outputBufferBytes), show: show,
		left: f.records, untilEnd: f.untilEnd, clk: clock.Real(), written: map[topicPartition]int64{}, behind: map[topicPartition]bool{},
	}
	err := s.run(ctx)
	if s.member != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyePatience)
		defer cancel()
		err = errors.Join(err, s.commit(last), s.leave(last))
	}
	return err
}

type topicPartition struct {
	topic     string
	partition int32
}

// shareReader is the member.
type shareReader struct {
	service  moldauv1.ConsumeServiceClient
	req      *moldauv1.ConsumeRequest
	out      *bufio.Writer
	show     printer
	left     int64 // records to write; 0: all
	untilEnd bool
	clk      clock.Clock

	member    *moldauv1.GroupMember    // nil until it has joined
	holds     int                      // partitions
	behind    map[topicPartition]bool  // those whose end was not reached
	written   map[topicPartition]int64 // what is not committed yet: the next offset
	committed time.Time
}

// errEnough says that the member has what it wants.
var errEnough = errors.New("enough")

// run reads over as many streams as it takes.
func (s *shareReader) run(ctx context.Context) error {
	since, pause := s.clk.Now(), rejoinPause
	for {
		joined, err := s.read(ctx)
		switch {
		case errors.Is(err, errEnough) || interrupted(err) && ctx.Err() != nil:
			return nil
		case joined:
			since, pause = s.clk.Now(), rejoinPause
		}
		if err == nil {
			continue // the server asked to come again
		}
		if s.member == nil || !errcode.Of(err).Retryable() || s.clk.Since(since) > rejoinPatience {
			return err
		}
		timer := s.clk.NewTimer(pause)
		pause = min(2*pause, 10*rejoinPause)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// read reads one stream. It returns nil where the server ends it on purpose.
func (s *shareReader) read(ctx context.Context) (joined bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.service.Consume(ctx, s.req)
	if err != nil {
		return false, err
	}
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return joined, errEnough // somebody else took the member out of its group
		}
		if err != nil {
			return joined, err
		}
		joined = true
		if r := frame.GetReconnect(); r != nil {
			if s.req.ResumeToken = r.GetResumeToken(); s.req.ResumeToken == "" {
				s.member = nil
				clear(s.written)
			}
			return joined, nil
		}
		if err := s.take(ctx, frame); err != nil {
			return joined, err
		}
	}
}

func (s *shareReader) take(ctx context.Context, frame *moldauv1.ConsumeResponse) error {
	switch f := frame.GetFrame().(type) {
	case *moldauv1.ConsumeResponse_Joined:
		s.member, s.req.ResumeToken = f.Joined.GetMember(), f.Joined.GetResumeToken()
		s.stand(f.Joined.GetPlaces())
	case *moldauv1.ConsumeResponse_Assignment:
		s.member, s.req.ResumeToken = f.Assignment.GetMember(), f.Assignment.GetResumeToken()
		s.stand(f.Assignment.GetPlaces())
	case *moldauv1.ConsumeResponse_Heartbeat:
		s.member = f.Heartbeat.GetMember()
	case *moldauv1.ConsumeResponse_CaughtUp:
		delete(s.behind, topicPartition{f.CaughtUp.GetTopic(), f.CaughtUp.GetPartition()})
	case *moldauv1.ConsumeResponse_Records:
		if err := s.write(f.Records); err != nil {
			return err
		}
	}
	if _, records := frame.GetFrame().(*moldauv1.ConsumeResponse_Records); !records || s.clk.Since(s.committed) >= commitInterval {
		if err := s.commit(ctx); err != nil {
			return err
		}
	}
	if s.untilEnd && s.holds > 0 && len(s.behind) == 0 {
		return errEnough
	}
	return nil
}

// stand takes in what the member holds, and what of it lies before the end.
func (s *shareReader) stand(places []*moldauv1.ConsumePlace) {
	s.holds = len(places)
	clear(s.behind)
	for _, p := range places {
		if p.GetLag() > 0 {
			s.behind[topicPartition{p.GetTopic(), p.GetPartition()}] = true
		}
	}
}

// write writes records, and no more than are wanted.
func (s *shareReader) write(r *moldauv1.ReadRecords) error {
	wanted, next := r.GetRecords(), r.GetNextOffset()
	if n := int64(len(wanted)); s.left > 0 && n >= s.left {
		wanted = wanted[:s.left]
		next = wanted[s.left-1].GetOffset() + 1
	}
	if err := printRecords(s.out, &moldauv1.ReadRecords{Topic: r.GetTopic(), Partition: r.GetPartition(), Records: wanted}, s.show); err != nil {
		return err
	}
	s.written[topicPartition{r.GetTopic(), r.GetPartition()}] = next
	if s.left == 0 {
		return nil
	}
	if s.left -= int64(len(wanted)); s.left == 0 {
		return errEnough
	}
	return nil
}

// commit commits what was written. What the member has lost by now is not its
// to commit.
func (s *shareReader) commit(ctx context.Context) error {
	if len(s.written) == 0 || s.member == nil {
		return nil
	}
	req := &moldauv1.CommitRequest{GroupId: s.req.GetGroupId(), MemberId: s.member.GetMemberId(), MemberEpoch: s.member.GetGeneration()}
	for p, next := range s.written {
		req.Offsets = append(req.Offsets, &moldauv1.GroupOffset{Topic: p.topic, Partition: p.partition, Offset: next})
	}
	resp, err := s.service.Commit(ctx, req)
	if errcode.Is(err, errcode.UnknownMember) || errcode.Is(err, errcode.UnknownGroup) {
		clear(s.written) // the stream will say so
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range resp.GetOffsets() {
		if e := o.GetError(); e != nil && e.GetReason() != string(errcode.StaleMemberEpoch) {
			return hinted("what was written will come again", "%s[%d] was not committed: %s", o.GetTopic(), o.GetPartition(), e.GetMessage())
		}
	}
	clear(s.written)
	s.committed = s.clk.Now()
	return nil
}

func (s *shareReader) leave(ctx context.Context) error {
	_, err := s.service.Leave(ctx, &moldauv1.LeaveRequest{GroupId: s.req.GetGroupId(), MemberId: s.member.GetMemberId()})
	return err
}
