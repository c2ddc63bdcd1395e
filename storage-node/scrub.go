package storagenode

import (
	"context"
	"time"
)

const (
	// scrubStep is about how much is read at once.
	scrubStep = 256 << 10
	// scrubDelay is how long after the start the first look begins, if looks are not
	// closer together: a node that starts has more to do.
	scrubDelay = 10 * time.Minute
)

// scrub reads all that the node has on disk again and again, slowly, so that
// damage is found while other replicas are sound (rule N6), until ctx ends.
func (s *Service) scrub(ctx context.Context) {
	for wait := min(scrubDelay, s.cfg.ScrubInterval); s.pause(ctx, wait); {
		began := s.clock.Now()
		s.scrubOnce(ctx)
		wait = max(s.cfg.ScrubInterval-s.clock.Since(began), time.Second)
	}
}

// scrubOnce looks at every log once.
func (s *Service) scrubOnce(ctx context.Context) {
	for _, p := range s.snapshot() {
		if ctx.Err() != nil {
			return
		}
		if p.fault.Load() == nil && (p.log.Load() != nil || s.hasDir(p.id)) {
			p.scrub(ctx)
		}
	}
}

// scrub looks at one log. What is wrong with it takes it out of service.
func (p *partition) scrub(ctx context.Context) {
	l, err := p.open()
	if err != nil {
		return // a fault, which open has logged
	}
	look := l.Scrub()
	for done := false; !done && p.log.Load() == l && p.fault.Load() == nil; {
		var n int64
		if n, done, err = look.Step(scrubStep); err != nil {
			if p.log.Load() == l && !p.isGone() {
				p.failedBy(l, err)
			}
			return
		}
		p.node.metrics.scrubbed.Add(float64(n))
		if p.node.scrubRate.wait(ctx, int(n)) != nil {
			return
		}
	}
}
