package native

import (
	"context"
	"sync"
)

// consumers are the Consume streams of this gateway. That others find a stream
// here makes things quicker: what it must hear it hears from its coordinator.
type consumers struct {
	s  *Server
	wg sync.WaitGroup // of members whose streams have broken

	mu   sync.Mutex
	byID map[[2]string]*consumer // by group and member id
}

func (s *Server) newConsumers() *consumers {
	return &consumers{s: s, byID: map[[2]string]*consumer{}}
}

// live runs a stream beside its membership. A member whose stream breaks leaves
// its group when it has lingered; a static one says that it will be back.
func (cs *consumers) live(ctx context.Context, c *consuming, run func(context.Context) error) error {
	key := [2]string{c.q.group, c.m.id}
	cs.mu.Lock()
	cs.byID[key] = c.m
	cs.mu.Unlock()
	beats, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.m.run(beats)
	}()
	err := run(ctx)
	cancel()
	<-done
	cs.mu.Lock()
	if cs.byID[key] == c.m {
		delete(cs.byID, key)
	}
	cs.mu.Unlock()
	if !c.farewell && c.m.look().end == nil {
		cs.wg.Go(func() { cs.linger(c.m) })
	}
	return err
}

func (cs *consumers) linger(m *consumer) {
	timer := cs.s.clk.NewTimer(m.q.linger)
	defer timer.Stop()
	select {
	case <-timer.C():
		if m.q.instance != "" {
			m.leave(cs.s.life, away)
		} else {
			m.leave(cs.s.life, leaving)
		}
	case <-cs.s.polling.Done(): // it goes on elsewhere, or its session ends
	}
}

// of returns the member of a stream of this gateway, or nil.
func (cs *consumers) of(group, id string) *consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.byID[[2]string{group, id}]
}
