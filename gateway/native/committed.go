package native

import (
	"errors"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// aborted tells the batches of aborted transactions apart, in one walk over all
// batches of an answer, in their order. The zero value passes everything.
type aborted struct {
	// left are the transactions that have not begun yet, by first offset.
	left []storageclient.AbortedTransaction
	open map[int64]bool // by producer
}

func newAborted(all []storageclient.AbortedTransaction) *aborted {
	return &aborted{left: all, open: map[int64]bool{}}
}

// has tells whether a batch is of an aborted transaction. Every batch must be
// shown to it.
func (a *aborted) has(batch []byte, h *record.Header) bool {
	for len(a.left) > 0 && a.left[0].FirstOffset < h.NextOffset() {
		a.open[a.left[0].ProducerID] = true
		a.left = a.left[1:]
	}
	if !h.Transactional() || !a.open[h.ProducerID] {
		return false
	}
	if !h.Control() {
		return true
	}
	if m, err := record.ParseControl(batch); err == nil && m.Type == record.Abort {
		delete(a.open, h.ProducerID)
	}
	return false
}

// dropAborted returns the batches without those of aborted transactions, and
// where the last of them all ends; -1 where that is where the last one returned
// does.
func dropAborted(batches []byte, all []storageclient.AbortedTransaction) (kept []byte, end int64, err error) {
	if len(all) == 0 {
		return batches, -1, nil
	}
	end = -1
	for a := newAborted(all); len(batches) > 0; {
		batch, rest, h, err := record.Next(batches)
		if errors.Is(err, record.ErrPartial) {
			break
		}
		if err != nil {
			return nil, -1, unreadable(err)
		}
		if batches, end = rest, h.NextOffset(); !a.has(batch, &h) {
			kept = append(kept, batch...)
		}
	}
	return kept, end, nil
}
