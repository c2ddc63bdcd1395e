package storagenode

import (
	"context"
	"errors"

	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/storageclient"
)

// catchUpBytes is how much a follower that is catching up is sent at once: those
// that are in sync come first, and it must not be in their way.
const catchUpBytes = 256 << 10

// piece is what was read for one session.
type piece struct {
	session *session
	data    storageclient.SessionData
	own     *[]byte // pooled buffer that the batches lie in; nil: nothing was read
}

// frame makes the next frame, or nil where there is nothing to say: what those
// in sync lack, and one piece for those that catch up.
func (f *feed) frame() *storageclient.LeaderFrame {
	var pieces []piece
	for size := 0; size < frameBytes; {
		s := f.nextReady()
		if s == nil {
			break
		}
		p := s.read(frameBytes - size)
		f.mu.Lock()
		if f.keep(&p) {
			pieces = append(pieces, p)
			size += len(p.data.Batches)
		}
		f.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.prepared; p != nil {
		f.prepared = nil
		if f.keep(p) {
			pieces = append(pieces, *p)
		}
		wake(f.kickBehind)
	}
	data := make([]storageclient.SessionData, 0, len(pieces)+len(f.due))
	for i := range pieces {
		data = append(data, pieces[i].data)
	}
	for _, s := range f.due {
		data = s.progress(data)
	}
	answers := f.answers
	f.answers, f.due = nil, nil
	if len(answers)+len(data) == 0 {
		return nil
	}
	return storageclient.NewLeaderFrame(answers, data, func() {
		for i := range pieces {
			readBuffers.put(pieces[i].own)
		}
	})
}

// nextReady takes the session off the list whose turn it is.
func (f *feed) nextReady() *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ready) == 0 || f.underWay >= f.hello.WindowBytes {
		return nil
	}
	s := f.ready[0]
	f.ready = f.ready[1:]
	return s
}

// read reads what a session lacks, up to a size and the room in its window; one
// batch it may read whatever its size.
func (s *session) read(limit int) piece {
	f, none := s.feed, piece{session: s}
	f.mu.Lock()
	from, room, over := s.next, s.window-(s.sent-s.taken), s.over
	f.mu.Unlock()
	l := s.p.log.Load()
	end := l.EndOffset()
	if over || from >= end || room <= 0 {
		return none
	}
	limit = int(min(int64(limit), room))
	own := readBuffers.get(s.p.room(l, from, end, limit))
	batches, next, _, err := readLog(l, readRange{from: from, bound: end, limit: limit, wholeFirst: true}, *own)
	if err != nil {
		readBuffers.put(own)
		s.unreadable(l, err)
		return none
	}
	*own = batches
	return piece{session: s, own: own, data: storageclient.SessionData{
		Handle: s.handle, Base: from, End: next, Batches: batches,
		HighWatermark: s.p.highWatermark.Load(), LogStart: l.StartOffset(),
	}}
}

// unreadable ends a session whose next batch cannot be sent. What is damaged is
// reported, and never sent (invariant 13).
func (s *session) unreadable(l *commitlog.Log, err error) {
	if errors.Is(err, commitlog.ErrOffsetOutOfRange) { // retention was there first
		s.p.event(replication.Overtaken{Node: s.feed.hello.NodeID, Session: s.number})
		return
	}
	_ = s.p.readError(l, err) // takes the partition out of service, which is logged
	s.p.event(replication.Ended{Node: s.feed.hello.NodeID, Session: s.number})
}

// keep counts a piece as sent, unless its session ended while it was read: the
// log may have been cut and written anew by then. The caller holds mu.
func (f *feed) keep(p *piece) bool {
	s := p.session
	s.queued = false
	if p.own == nil || s.over {
		if p.own != nil {
			readBuffers.put(p.own)
		}
		f.turn(s)
		return false
	}
	n := int64(len(p.data.Batches))
	s.next, s.toldHW = p.data.End, p.data.HighWatermark
	s.sent += n
	f.underWay += n
	f.turn(s)
	return true
}

// catchUp reads for those that are far behind, one piece at a time and no faster
// than the node's rate, until the stream ends.
func (f *feed) catchUp(ctx context.Context) error {
	for {
		s := f.nextBehind()
		if s == nil {
			select {
			case <-f.kickBehind:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		p := s.read(catchUpBytes)
		if p.own != nil {
			if err := f.node.catchUp.wait(ctx, len(p.data.Batches)); err != nil {
				readBuffers.put(p.own)
				return err
			}
		}
		f.mu.Lock()
		if p.own == nil {
			f.keep(&p)
		} else {
			f.prepared = &p
			wake(f.kick)
		}
		f.mu.Unlock()
	}
}

// nextBehind takes the session off the list that a piece may be read for now.
func (f *feed) nextBehind() *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.behind) == 0 || f.prepared != nil || f.underWay >= f.hello.WindowBytes {
		return nil
	}
	s := f.behind[0]
	f.behind = f.behind[1:]
	return s
}

// tellProgress has those told who know an older high watermark.
func (f *feed) tellProgress() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.due = append(f.due, f.stale...)
	f.stale = nil
	wake(f.kick)
}

// progress adds an entry without batches, unless the session knows it all. The
// caller holds mu.
func (s *session) progress(data []storageclient.SessionData) []storageclient.SessionData {
	s.told = false
	hw := s.p.highWatermark.Load()
	if s.over || hw == s.toldHW {
		return data
	}
	s.toldHW = hw
	return append(data, storageclient.SessionData{
		Handle: s.handle, Base: s.next, End: s.next, HighWatermark: hw, LogStart: s.p.log.Load().StartOffset(),
	})
}
