package controller

import (
	"testing"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

func at(epoch, count int64, term string) *metadatav1.Position {
	return &metadatav1.Position{Generation: 1, Revision: epoch<<epochShift + count, TermId: term}
}

// TestStoreHoldsItsPastAndNoOther (C11).
func TestStoreHoldsItsPastAndNoOther(t *testing.T) {
	l := reach(beginTerm(nil, 4, "d"), 4<<epochShift+10)
	l = reach(beginTerm(l, 6, "f"), 6<<epochShift+3)
	for name, tt := range map[string]struct {
		seen *metadatav1.Position
		want bool
	}{
		"nothing":                         {nil, true},
		"the beginning of a term":         {at(6, 0, "f"), true},
		"the newest":                      {at(6, 3, "f"), true},
		"the end of the term before":      {at(4, 10, "d"), true},
		"before all that is remembered":   {at(3, 99, "c"), true},
		"later in the term":               {at(6, 4, "f"), false},
		"later in the term before":        {at(4, 11, "d"), false},
		"a later term":                    {at(7, 0, "g"), false},
		"a term of which nothing is left": {at(5, 0, "e"), false},
		"another term of the same epoch":  {at(6, 1, "x"), false},
		"a later generation":              {&metadatav1.Position{Generation: 2, Revision: 1}, false},
	} {
		if got := holds(l, tt.seen); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	l.Generation = 2
	if !holds(l, at(9, 9, "lost")) {
		t.Error("an operator has accepted that it is lost")
	}
}

func TestLineageIsBounded(t *testing.T) {
	var l *metadatav1.Lineage
	for epoch := range int64(3 * keptTerms) {
		l = beginTerm(l, epoch+1, "t")
	}
	if len(l.Terms) != keptTerms || l.Terms[keptTerms-1].Epoch != 3*keptTerms || l.Generation != 1 {
		t.Errorf("%d terms of generation %d", len(l.Terms), l.Generation)
	}
}

func TestNewestPositionCounts(t *testing.T) {
	var e evidence
	for _, p := range []*metadatav1.Position{at(5, 1, "e"), nil, at(4, 9, "d"), at(5, 2, "e"), {Generation: 2, Revision: 1}, at(9, 9, "x")} {
		e.note(p)
	}
	if e.newest.Generation != 2 {
		t.Errorf("got %v", e.newest)
	}
}
