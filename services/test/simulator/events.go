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

// schedule is a heap of events.
type schedule struct {
	heap []event
	seq  uint64
}

func (s *schedule) before(i, j int) bool {
	a, b := &s.heap[i], &s.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// plan adds an event; one that is planned again, since its process was paused,
// keeps its place among those of the new time.
func (s *schedule) plan(e event) {
	if e.seq == 0 {
		s.seq++
		e.seq = s.seq
	}
	s.heap = append(s.heap, e)
	for i := len(s.heap) - 1; i > 0 && s.before(i, (i-1)/2); i = (i - 1) / 2 {
		s.heap[i], s.heap[(i-1)/2] = s.heap[(i-1)/2], s.heap[i]
	}
}

// next takes the first event out; ok is false where there is none.
func (s *schedule) next() (e event, ok bool) {
	n := len(s.heap) - 1
	if n < 0 {
		return event{}, false
	}
	e = s.heap[0]
	s.heap[0] = s.heap[n]
	s.heap[n] = event{}
	s.heap = s.heap[:n]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < n; c++ {
			if s.before(c, least) {
				least = c
			}
		}
		if least == i {
			return e, true
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
