package commitlog

import (
	"errors"
	"testing"

	"moldau.dev/storage-node/vfs"
)

// look takes all steps of a scrub, and returns what they read.
func look(t *testing.T, c *Scrub, limit int64) (read int64, err error) {
	t.Helper()
	for steps := 0; ; steps++ {
		n, done, err := c.Step(limit)
		if read += n; done || err != nil {
			return read, err
		}
		if steps > 10_000 {
			t.Fatal("it never ends")
		}
	}
}

func TestScrubReadsTheWholeLogAgain(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	if n, err := look(t, l.Scrub(), 100); n != 0 || err != nil {
		t.Errorf("an empty log: read %d, %v", n, err)
	}
	for range 40 {
		appendTo(t, l, 2, 0)
	}
	if l.SegmentCount() < 3 {
		t.Fatalf("%d segments", l.SegmentCount())
	}
	for _, limit := range []int64{1, 300, 1 << 20} {
		if n, err := look(t, l.Scrub(), limit); n != l.Size() || err != nil {
			t.Errorf("read %d bytes of %d, %v", n, l.Size(), err)
		}
	}
}

// TestScrubFindsWhatWasSoundBefore: what this process has appended and read is not
// verified by reads any more (N6).
func TestScrubFindsWhatWasSoundBefore(t *testing.T) {
	for _, at := range []int{70, 700} {
		fs := vfs.NewMemory()
		l := open(t, fs, small)
		for range 40 {
			appendTo(t, l, 2, 0)
		}
		readAll(t, l)
		flipAt(t, fs, at)
		if _, err := look(t, l.Scrub(), 100); !errors.As(err, new(*CorruptionError)) {
			t.Errorf("byte %d: got %v", at, err)
		}
	}
}

// TestScrubTakesAChangedLogForNoDamage: it is cut, and written anew with batches of
// other lengths, between two steps.
func TestScrubTakesAChangedLogForNoDamage(t *testing.T) {
	for stop := 1; stop < 12; stop++ {
		l := open(t, vfs.NewMemory(), small)
		for range 12 {
			appendTo(t, l, 1, 0)
		}
		c := l.Scrub()
		for range stop {
			if _, _, err := c.Step(1); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Truncate(1); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			appendTo(t, l, 3, 1)
		}
		if _, err := look(t, c, 1); err != nil {
			t.Errorf("after %d steps: %v", stop, err)
		}
	}
}

// TestAbandonedLogIsNotRead: other files may have the names of its segments.
func TestAbandonedLogIsNotRead(t *testing.T) {
	l := open(t, vfs.NewMemory(), small)
	appendTo(t, l, 2, 0)
	c := l.Scrub()
	if err := l.Abandon(); err != nil {
		t.Fatal(err)
	}
	if b, err := l.Read(0, 2, 1000, true, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
	if _, _, err := c.Step(1); !errors.Is(err, ErrClosed) {
		t.Errorf("step: %v", err)
	}
}
