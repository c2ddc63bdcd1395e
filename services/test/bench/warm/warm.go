// Package warm makes a virtual machine fit to be measured.
package warm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// PageCache fills the page cache with the pages of a file of holes and leaves it
// there, so that what is written afterwards takes pages over instead of asking
// a virtual machine's host for new ones: a first touch costs 2 to 3 CPU-s/GB,
// more than the whole path that is measured.
func PageCache(t testing.TB) {
	t.Helper()
	const leave = 2 << 30 // for the processes
	size := availableBytes(t) - leave
	if size <= 0 {
		return
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "holes"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyBuffer(onlyWriter{io.Discard}, f, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "page cache warmed with %d MiB\n", size>>20)
}

// onlyWriter hides that io.Discard can read a file by itself, in small steps.
type onlyWriter struct{ io.Writer }

func availableBytes(t testing.TB) int64 {
	t.Helper()
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not say how much memory is available")
	return 0
}
