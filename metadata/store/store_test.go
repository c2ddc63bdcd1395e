package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Truth { return one(store.NewMemory()) })
}

func TestEmbedded(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Truth { return one(open(t, t.TempDir())) })
}

func one(s store.Store) storetest.Truth { return func() store.Store { return s } }

func open(t *testing.T, dir string) *store.Embedded {
	t.Helper()
	s, err := store.OpenEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	if _, err := store.OpenEmbedded(dir); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	_ = first.Close()
	open(t, dir)
}

func TestEmbeddedRemembersAcrossOpens(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	lease, _ := first.Elect(t.Context(), "a")
	index, err := first.Commit(t.Context(), lease.Fence(), []store.Op{{Kind: store.Set, Key: "k", Value: []byte("v")}})
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()

	second := open(t, dir)
	next, err := second.Elect(t.Context(), "a")
	if err != nil || next.Epoch() <= lease.Epoch() {
		t.Fatalf("epoch %v after %d: %v", next, lease.Epoch(), err)
	}
	pairs, err := second.List(t.Context(), "")
	if err != nil || len(pairs) != 1 || string(pairs[0].Value) != "v" || pairs[0].Index != index {
		t.Fatalf("got %v, %v", pairs, err)
	}
	if _, err := second.Commit(t.Context(), lease.Fence(), nil); !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("a fence from before the restart: %v", err)
	}
}

func TestGarbageIsNoStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "metadata.db"), make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenEmbedded(dir); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("got %v, want ErrDamaged", err)
	}
}

// A file that was cut is mapped beyond its end; to read there is a fault.
func TestAFileThatLostItsEndIsNoStore(t *testing.T) {
	for pages := 2; pages < 4; pages++ { // the two that say what the others are, and one more
		dir := t.TempDir()
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "metadata.db"), int64(pages*os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
		if _, err := store.OpenEmbedded(dir); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("cut to %d pages: got %v, want ErrDamaged", pages, err)
		}
	}
}

func TestEachFlippedByteOfAFrameIsSeen(t *testing.T) {
	stamp := store.Stamp{ControllerEpoch: 3, OpID: [16]byte{1, 2}}
	sealed := store.Seal("key", stamp, []byte("extra"), []byte("payload"))
	got, extra, payload, err := store.Unseal("key", sealed)
	if err != nil || got != stamp || string(extra) != "extra" || string(payload) != "payload" {
		t.Fatalf("got %v %q %q %v", got, extra, payload, err)
	}
	if _, _, _, err := store.Unseal("other", sealed); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("under another key: %v", err)
	}
	for i := range sealed {
		bad := append([]byte(nil), sealed...)
		bad[i] ^= 0x40
		if _, _, _, err := store.Unseal("key", bad); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, _, _, err := store.Unseal("key", sealed[:i]); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}
