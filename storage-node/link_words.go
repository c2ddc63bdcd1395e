package storagenode

import (
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

// followed is one session on a link, as the follower has it.
type followed struct {
	p      *partition
	number uint64
	epoch  int32
	// ack is the last word on the session; untold are bytes that were taken since.
	ack    storageclient.SessionAck
	untold int64
	due    bool
}

// begin asks for a session in place of p's last one, and returns its handle; 0
// where there is no connection.
func (l *link) begin(p *partition, old uint32, b replication.Begin) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.connected {
		return 0
	}
	l.forget(old)
	l.last++
	l.sessions[l.last] = &followed{
		p: p, number: b.Session, epoch: b.LeaderEpoch,
		ack: storageclient.SessionAck{Handle: l.last, EndOffset: b.End, DurableEnd: b.DurableEnd},
	}
	l.words.Begins = append(l.words.Begins, storageclient.SessionBegin{
		PartitionID: p.id, Handle: l.last, Session: b.Session, LeaderEpoch: b.LeaderEpoch,
		EndOffset: b.End, DurableEnd: b.DurableEnd, LastEpoch: b.LastEpoch, WindowBytes: l.node.cfg.ReplicaWindowBytes,
	})
	wake(l.kick)
	return l.last
}

// forget ends a session; the caller holds mu.
func (l *link) forget(handle uint32) {
	if l.sessions[handle] != nil {
		delete(l.sessions, handle)
		l.words.Ends = append(l.words.Ends, handle)
	}
}

// acked tells the leader how far a session is.
func (l *link) acked(handle uint32, a replication.Ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[handle]; s != nil {
		s.ack.EndOffset, s.ack.DurableEnd = a.End, a.DurableEnd
		l.tell(s)
	}
}

// took gives room back; the leader learns of it with the next ack, or once it is
// much.
func (l *link) took(handle uint32, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[handle]
	if s == nil {
		return
	}
	s.ack.TakenBytes += int64(n)
	s.untold += int64(n)
	if s.untold >= l.node.cfg.ReplicaWindowBytes/4 {
		l.tell(s)
	}
}

// tell queues the last word on a session; the caller holds mu.
func (l *link) tell(s *followed) {
	if !s.due {
		s.due = true
		l.due = append(l.due, s)
	}
	wake(l.kick)
}

// say takes what is to be said, or nil.
func (l *link) say() *storageclient.FollowerWords {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.due {
		s.due, s.untold = false, 0
		if l.sessions[s.ack.Handle] == s {
			l.words.Acks = append(l.words.Acks, s.ack)
		}
	}
	l.due = l.due[:0]
	w := l.words
	l.words = storageclient.FollowerWords{}
	if len(w.Begins)+len(w.Acks)+len(w.Ends)+len(w.Resignations) == 0 {
		return nil
	}
	return &w
}

// hear takes frames until the stream ends. The inboxes that it fills are bounded
// by the sessions' windows.
func (l *link) hear(stream storageclient.FollowerStream, alive func()) error {
	for {
		f, err := stream.Recv()
		if err != nil {
			return err
		}
		alive()
		for i := range f.Answers {
			if s := l.session(f.Answers[i].Handle); s != nil {
				s.p.deliver(parcel{link: l, handle: s.ack.Handle, event: s.answer(&f.Answers[i])})
			}
		}
		for i := range f.Data {
			d := &f.Data[i]
			if s := l.session(d.Handle); s != nil {
				f.Retain()
				s.p.deliver(parcel{link: l, handle: d.Handle, batches: d.Batches, frame: f, event: s.data(d)})
			}
		}
		f.Release()
	}
}

func (l *link) session(handle uint32) *followed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[handle]
}

// answer is the leader's word as the core takes it.
func (s *followed) answer(a *storageclient.SessionAnswer) replication.Event {
	switch {
	case a.Accept != nil:
		return replication.Accept{Session: s.number, LeaderEpoch: s.epoch, From: a.Accept.From, Progress: replication.Progress{
			HighWatermark: a.Accept.HighWatermark, LogStart: a.Accept.LogStart,
		}}
	case a.Diverge != nil:
		return replication.Diverge{Session: s.number, LeaderEpoch: s.epoch, End: replication.EpochEnd{
			Epoch: a.Diverge.Epoch, EndOffset: a.Diverge.EndOffset,
		}}
	case a.Reset != nil:
		return replication.Reset{Session: s.number, LeaderEpoch: s.epoch, Start: *a.Reset}
	}
	return replication.Refuse{Session: s.number, LeaderEpoch: s.epoch, Reason: a.Refuse}
}

func (s *followed) data(d *storageclient.SessionData) replication.Event {
	return replication.Data{Session: s.number, LeaderEpoch: s.epoch, Base: d.Base, End: d.End, Progress: replication.Progress{
		HighWatermark: d.HighWatermark, LogStart: d.LogStart,
	}}
}
