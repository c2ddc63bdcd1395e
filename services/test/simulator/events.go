package simulator

import "time"

// event is something that will happen. Events happen in the order of their
// time, those of one time in the order in which they were planned.
type event struct {
	at   time.Duration
	seq  uint64
	p    *process // to which it happens; nil: to the world
	life int      // of p; an event of an earlier life is void
	what string
	do   func()
}

// schedule is a heap of events. What it sorts has no pointers: moving those
// about costs far more.
type schedule struct {
	heap   []due
	events []event // those that due names, and free places
	free   []int32 // places in events
	seq    uint64
}

type due struct {
	at    time.Duration
	seq   uint64
	place int32
}

func (a *due) before(b *due) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

// plan adds an event; one that is planned again, since its process was paused,
// keeps its place among those of the new time.
func (s *schedule) plan(e event) {
	if e.seq == 0 {
		s.seq++
		e.seq = s.seq
	}
	d := due{e.at, e.seq, int32(len(s.events))}
	if n := len(s.free); n > 0 {
		d.place, s.free = s.free[n-1], s.free[:n-1]
		s.events[d.place] = e
	} else {
		s.events = append(s.events, e)
	}
	s.heap = append(s.heap, d)
	i := len(s.heap) - 1
	for ; i > 0 && d.before(&s.heap[(i-1)/2]); i = (i - 1) / 2 {
		s.heap[i] = s.heap[(i-1)/2]
	}
	s.heap[i] = d
}

// first is when the first event is due; ok is false where there is none.
func (s *schedule) first() (at time.Duration, ok bool) {
	if len(s.heap) == 0 {
		return 0, false
	}
	return s.heap[0].at, true
}

// next takes the first event out.
func (s *schedule) next() event {
	first, n := s.heap[0], len(s.heap)-1
	d := s.heap[n]
	s.heap = s.heap[:n]
	i := 0
	for n > 0 {
		c := 2*i + 1
		if c+1 < n && s.heap[c+1].before(&s.heap[c]) {
			c++
		}
		if c >= n || d.before(&s.heap[c]) {
			s.heap[i] = d
			break
		}
		s.heap[i] = s.heap[c]
		i = c
	}
	e := s.events[first.place]
	s.events[first.place] = event{}
	s.free = append(s.free, first.place)
	return e
}
