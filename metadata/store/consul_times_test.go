package store

import (
	"testing"
	"time"

	"moldau.dev/services/clock"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestLeaseIsLostAtTwoThirdsOfItsTime (C6): well before Consul, which waits at
// least the whole of it, lets another have it.
func TestLeaseIsLostAtTwoThirdsOfItsTime(t *testing.T) {
	l := tenure{renewed: noon, confirmed: noon}
	if now := noon.Add(loseAfter - time.Millisecond); l.left(now) <= 0 || !l.heldWithin(now, time.Hour) {
		t.Error("lost too early")
	}
	if now := noon.Add(loseAfter); l.left(now) > 0 || l.heldWithin(now, time.Hour) {
		t.Error("counted on for too long")
	}
	if loseAfter >= sessionTTL || renewEvery >= loseAfter/2 {
		t.Errorf("renewal each %s, lost after %s of %s", renewEvery, loseAfter, sessionTTL)
	}
}

// TestRenewalIsNoProof: the session may live on while the lock is another's.
func TestRenewalIsNoProof(t *testing.T) {
	l := tenure{renewed: noon.Add(5 * time.Second), confirmed: noon}
	now := noon.Add(5 * time.Second)
	if l.heldWithin(now, 4*time.Second) || !l.heldWithin(now, 5*time.Second) {
		t.Error("what was confirmed 5 s ago is held within exactly that")
	}
	if l.renewalDue(now) || !l.renewalDue(now.Add(renewEvery)) {
		t.Error("renewal is due a quarter of the time after the last one")
	}
}

func TestPacerLetsTwoPassAndThenPaces(t *testing.T) {
	p := newPacer(clock.NewManual(noon))
	for i, want := range []time.Duration{0, 0, paceInterval, 2 * paceInterval} {
		if got := max(p.take(noon), 0); got != want {
			t.Errorf("take %d waits %s, want %s", i, got, want)
		}
	}
	if got := p.take(noon.Add(time.Minute)); got > 0 {
		t.Errorf("after a minute of rest it waits %s", got)
	}
}
