package commitlog

import (
	"testing"

	"moldau.dev/storage-node/vfs"
)

func TestEndOffsetForEpoch(t *testing.T) {
	fs := vfs.NewMemory()
	l := open(t, fs, small)
	for _, epoch := range []int32{2, 2, 4} {
		appendTo(t, l, 10, epoch)
	}
	if err := l.StartEpoch(7, 30); err != nil { // without records
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			ask, epoch int32
			end        int64
		}{{-1, -1, -1}, {-5, -5, 0}, {0, 0, 0}, {2, 2, 20}, {3, 2, 20}, {4, 4, 30}, {6, 4, 30}, {7, 7, 30}, {8, -1, -1}} {
			if epoch, end := l.EndOffsetForEpoch(c.ask); epoch != c.epoch || end != c.end {
				t.Errorf("%s: epoch %d ends at (%d, %d), want (%d, %d)", when, c.ask, epoch, end, c.epoch, c.end)
			}
		}
	}
	check("at first")
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	l = open(t, fs, small)
	check("after a kill")
	if l.LatestEpoch() != 7 {
		t.Errorf("latest is %d", l.LatestEpoch())
	}
	if err := l.Truncate(30); err != nil { // rule R3: also where nothing is cut (KAFKA-10706)
		t.Fatal(err)
	}
	if l.LatestEpoch() != 4 || l.EndOffset() != 30 {
		t.Errorf("after a truncation to the end: epoch %d, end %d", l.LatestEpoch(), l.EndOffset())
	}
	if err := l.Truncate(15); err != nil { // inside a batch
		t.Fatal(err)
	}
	if epoch, end := l.EndOffsetForEpoch(2); epoch != 2 || end != 10 || l.EndOffset() != 10 || l.LatestEpoch() != 2 {
		t.Errorf("after a truncation into a batch: (%d, %d)", epoch, end)
	}
}

func TestEpochsFollowTheLogStart(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	for epoch := range int32(4) {
		appendTo(t, l, 10, epoch)
	}
	if err := l.DeleteBefore(25); err != nil {
		t.Fatal(err)
	}
	if epoch, end := l.EndOffsetForEpoch(1); epoch != 1 || end != 25 {
		t.Errorf("an epoch before the start ends at (%d, %d)", epoch, end)
	}
	if epoch, end := l.EndOffsetForEpoch(2); epoch != 2 || end != 30 {
		t.Errorf("the epoch at the start ends at (%d, %d)", epoch, end)
	}
}
