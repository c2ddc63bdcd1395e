package native

import (
	"testing"

	"moldau.dev/storage-node/storageclient"
)

func TestCreditFollowsFromWhatIsCommitted(t *testing.T) {
	a, b := storageclient.PartitionID{Index: 1}, storageclient.PartitionID{Index: 2}
	c := newCredit(10)
	for _, s := range []struct {
		what string
		do   func()
		left int64
	}{
		{"nothing was sent", func() {}, 10},
		{"two frames", func() { c.send(a, sentFrame{0, 4, 4}); c.send(a, sentFrame{4, 6, 2}) }, 4},
		{"another partition, with gaps", func() { c.send(b, sentFrame{100, 200, 3}) }, 1},
		{"the middle of a frame", func() { c.commit(a, 3) }, 4},
		{"it again", func() { c.commit(a, 3) }, 4},
		{"less than before", func() { c.commit(a, 1) }, 4},
		{"the end of a frame", func() { c.commit(a, 4) }, 5},
		{"far into the gaps: no more can be left than there are offsets", func() { c.commit(b, 198) }, 6},
		{"nothing of it was sent", func() { c.commit(storageclient.PartitionID{Index: 3}, 9) }, 6},
		{"a partition that goes", func() { c.forget(a) }, 8},
		{"all", func() { c.commit(b, 200) }, 10},
	} {
		if s.do(); c.left() != s.left {
			t.Errorf("%s: %d are left, want %d", s.what, c.left(), s.left)
		}
	}
	free := newCredit(0)
	free.send(a, sentFrame{0, 4, 4})
	if free.left() != noLimit || len(free.sent) > 0 {
		t.Errorf("without a bound: %d, %v", free.left(), free.sent)
	}
}
