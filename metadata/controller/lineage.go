package controller

import (
	"slices"

	"moldau.dev/metadata/cluster"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// keptTerms is how many terms a lineage remembers; whoever saw none of them is
// believed.
const keptTerms = 32

// The lineage is what the store knows of its own past (C11): the last terms
// and how far each came. It is written with every change, so a store that was
// set back to a snapshot lacks what the others have seen since, and shows it:
// its lineage does not hold their positions.

// beginTerm returns the lineage of a term that has not changed anything yet.
func beginTerm(l *metadatav1.Lineage, epoch int64, id string) *metadatav1.Lineage {
	next := &metadatav1.Lineage{Generation: max(l.GetGeneration(), 1), EpochBase: l.GetEpochBase(), Terms: slices.Clone(l.GetTerms())}
	next.Terms = append(next.Terms, &metadatav1.Term{Epoch: epoch, Id: id, LastRevision: epoch << epochShift})
	if extra := len(next.Terms) - keptTerms; extra > 0 {
		next.Terms = next.Terms[extra:]
	}
	return next
}

// reach returns the lineage once its last term has come to revision.
func reach(l *metadatav1.Lineage, revision int64) *metadatav1.Lineage {
	terms := slices.Clone(l.GetTerms())
	last := len(terms) - 1
	terms[last] = &metadatav1.Term{Epoch: terms[last].GetEpoch(), Id: terms[last].GetId(), LastRevision: revision}
	return &metadatav1.Lineage{Generation: l.GetGeneration(), EpochBase: l.GetEpochBase(), Terms: terms}
}

// nextGeneration returns the lineage of a store whose loss an operator has
// accepted. Its controller epochs begin above all that were lost.
func nextGeneration(l *metadatav1.Lineage) *metadatav1.Lineage {
	return &metadatav1.Lineage{Generation: l.GetGeneration() + 1, EpochBase: l.GetEpochBase() + cluster.RebaseStep, Terms: l.GetTerms()}
}

// holds tells whether p is in the past of l. A lower generation is: an operator
// has accepted what was lost since.
func holds(l *metadatav1.Lineage, p *metadatav1.Position) bool {
	if p.GetRevision() == 0 || p.GetGeneration() < l.GetGeneration() {
		return true
	}
	if p.GetGeneration() > l.GetGeneration() {
		return false
	}
	epoch := p.GetRevision() >> epochShift
	for _, t := range l.GetTerms() {
		if t.GetEpoch() == epoch {
			return t.GetId() == p.GetTermId() && p.GetRevision() <= t.GetLastRevision()
		}
	}
	return len(l.GetTerms()) > 0 && epoch < l.GetTerms()[0].GetEpoch()
}

// newer returns the position that tells more of how far metadata has come.
func newer(a, b *metadatav1.Position) *metadatav1.Position {
	if b.GetGeneration() > a.GetGeneration() || b.GetGeneration() == a.GetGeneration() && b.GetRevision() > a.GetRevision() {
		return b
	}
	return a
}

// Position returns where the image stands.
func (i *Image) Position() *metadatav1.Position {
	last := i.Lineage.GetTerms()[len(i.Lineage.GetTerms())-1]
	return &metadatav1.Position{
		Generation: i.Lineage.GetGeneration(), Revision: i.Revision, TermId: last.GetId(), ClusterId: i.State.ClusterID,
	}
}

// evidence is what this process knows of how far metadata came, from its own
// terms, from the controllers that it pinged and from those that refuse to
// follow. It outlives terms.
type evidence struct {
	newest *metadatav1.Position
	proof  *metadatav1.Position // the last one that a store did not hold
}

func (e *evidence) note(p *metadatav1.Position) { e.newest = newer(e.newest, p) }

// strongest returns what a store that was set back most likely lacks.
func (e *evidence) strongest() *metadatav1.Position {
	if e.proof != nil && e.proof.GetGeneration() >= e.newest.GetGeneration() {
		return e.proof
	}
	return e.newest
}

// check returns the error of a store of that lineage and cluster that was set
// back, or emptied.
func (e *evidence) check(l *metadatav1.Lineage, clusterID string) error {
	for _, p := range []*metadatav1.Position{e.newest, e.proof} {
		if p != nil && (p.GetClusterId() != clusterID || !holds(l, p)) {
			return regressed(l, p)
		}
	}
	return nil
}

func regressed(l *metadatav1.Lineage, seen *metadatav1.Position) error {
	var last int64
	if terms := l.GetTerms(); len(terms) > 0 {
		last = terms[len(terms)-1].GetLastRevision()
	}
	return errcode.New(errcode.MetadataRegressed,
		"metadata was set back: revision %d of generation %d was seen, and the store does not hold it; it ends at %d of generation %d",
		seen.GetRevision(), seen.GetGeneration(), last, l.GetGeneration()).
		With("seen_revision", seen.GetRevision()).With("last_revision", last).
		WithHint("Restore the newest snapshot of the store. To go on with this one and lose what came after, raise its generation with: moldau metadata accept-restore.")
}
