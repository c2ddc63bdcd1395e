package controller

import (
	"time"

	"moldau.dev/metadata/store"
)

// The times of fast failover (C7).
const (
	pingInterval  = 200 * time.Millisecond
	pingPatience  = 400 * time.Millisecond
	firstPatience = 3 * time.Second
	lastPatience  = time.Minute
	calmAfter     = time.Minute
)

// suspicion is a standby's doubt about the controller: how long has it given
// no sign of life? Patience doubles with each controller that this standby
// deposes, until a quiet time has passed: two that cannot reach each other, but
// both the store, must not depose one another for ever.
type suspicion struct {
	holder   store.Holder
	alive    time.Time // last sign of life
	looked   time.Time
	patience time.Duration
	deposed  time.Time // when this standby last deposed one
}

// observe takes one look at the holder, and tells whether to depose it.
func (s *suspicion) observe(now time.Time, h store.Holder, alive bool) bool {
	stalled := now.Sub(s.looked) > firstPatience/2 // it saw nothing, so it knows nothing
	s.looked = now
	if h == (store.Holder{}) || h != s.holder || alive || stalled {
		s.holder, s.alive = h, now
		return false
	}
	if s.patience == 0 || now.Sub(s.deposed) > calmAfter+s.patience {
		s.patience = firstPatience
	}
	if now.Sub(s.alive) < s.patience {
		return false
	}
	s.patience, s.deposed, s.alive = min(2*s.patience, lastPatience), now, now
	return true
}
