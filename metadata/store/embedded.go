package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	embeddedFile   = "metadata.db"
	lockPatience   = 200 * time.Millisecond
	embeddedHeader = 8 + 4 // index, CRC-32C of key, index and value
)

var (
	bucketKV   = []byte("kv")
	bucketMeta = []byte("meta")
	keyIndex   = []byte("index")
	keyEpoch   = []byte("epoch")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Embedded is a Store in one file of one process: bbolt, which syncs the file
// in each transaction before Commit returns.
type Embedded struct {
	db       *bbolt.DB
	election *election
	changes  *changes
	closed   atomic.Bool
}

// OpenEmbedded opens the store in dir, which it makes if need be. It returns
// ErrLocked if anyone has it open, and a *DamagedError if the file is no store.
func OpenEmbedded(dir string) (*Embedded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make metadata folder: %w", err)
	}
	path := filepath.Join(dir, embeddedFile)
	// A file that was cut is mapped beyond its end: to touch that is a fault,
	// which recoverDamage then meets as a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	e := &Embedded{db: db, election: newElection()}
	index, err := e.prepare(path)
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	e.changes = newChanges(index)
	return e, nil
}

func openFile(path string) (db *bbolt.DB, err error) {
	defer recoverDamage(path, &err)
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, &DamagedError{Key: path, Cause: err}
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// recoverDamage turns bbolt's panic on an impossible page into an error.
func recoverDamage(key string, err *error) {
	if p := recover(); p != nil {
		*err = &DamagedError{Key: key, Cause: fmt.Errorf("%v", p)}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open metadata folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync metadata folder: %w", err)
	}
	return nil
}

func (e *Embedded) prepare(path string) (index int64, err error) {
	defer recoverDamage(path, &err)
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	err = e.db.Update(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return &DamagedError{Key: path, Cause: fmt.Errorf("%d bytes of %d are there", info.Size(), tx.Size())}
		}
		for _, name := range [][]byte{bucketKV, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("create bucket %s: %w", name, err)
			}
		}
		var err error
		index, err = number(tx, keyIndex)
		return err
	})
	return index, err
}

// List implements Store.
func (e *Embedded) List(ctx context.Context, prefix string) (pairs []Pair, err error) {
	if err := e.usable(ctx); err != nil {
		return nil, err
	}
	defer recoverDamage(prefix, &err)
	err = e.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketKV).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			p, err := unpack(k, v)
			if err != nil {
				return err
			}
			pairs = append(pairs, p)
		}
		return nil
	})
	return pairs, e.outcome(err)
}

// Commit implements Store.
func (e *Embedded) Commit(ctx context.Context, fence Fence, ops []Op) (int64, error) {
	if err := e.usable(ctx); err != nil {
		return 0, err
	}
	if err := checkSize(ops); err != nil {
		return 0, err
	}
	index, err := e.election.guard(fence, func() (int64, error) { return e.commit(ops) })
	if err != nil {
		return 0, e.outcome(err)
	}
	e.changes.announce(index)
	return index, nil
}

func (e *Embedded) commit(ops []Op) (index int64, err error) {
	decided := false
	err = e.db.Update(func(tx *bbolt.Tx) error {
		kv := tx.Bucket(bucketKV)
		if err := checkOps(ops, func(key string) int64 { return indexOf(kv.Get([]byte(key))) }); err != nil {
			return err
		}
		var err error
		if index, err = bump(tx, keyIndex); err != nil {
			return err
		}
		for _, op := range ops {
			if err := write(kv, op, index); err != nil {
				return fmt.Errorf("write %s: %w", op.Key, err)
			}
		}
		decided = true
		return nil
	})
	if err != nil && decided { // the sync failed: the pages may be on disk or not
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return index, err
}

func write(kv *bbolt.Bucket, op Op, index int64) error {
	switch op.Kind {
	case Set, CAS:
		return kv.Put([]byte(op.Key), pack(op.Key, op.Value, index))
	case Delete, DeleteCAS:
		return kv.Delete([]byte(op.Key))
	}
	return nil
}

// Watch implements Store.
func (e *Embedded) Watch(ctx context.Context, _ string, after int64) (int64, error) {
	return e.changes.wait(ctx, after, e.election.closed)
}

// Elect implements Store.
func (e *Embedded) Elect(ctx context.Context, candidate string) (Lease, error) {
	return e.election.elect(ctx, candidate, func() (epoch int64, err error) {
		err = e.db.Update(func(tx *bbolt.Tx) error {
			epoch, err = bump(tx, keyEpoch)
			return err
		})
		return epoch, e.outcome(err)
	})
}

// Holder implements Store.
func (e *Embedded) Holder(ctx context.Context) (Holder, error) { return e.election.holder(ctx) }

// Depose implements Store.
func (e *Embedded) Depose(ctx context.Context, h Holder) error { return e.election.depose(ctx, h) }

// Close implements Store.
func (e *Embedded) Close() error {
	if e.closed.Swap(true) {
		return nil
	}
	e.election.close()
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("close metadata store: %w", err)
	}
	return nil
}

func (e *Embedded) usable(ctx context.Context) error {
	if e.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

func (e *Embedded) outcome(err error) error {
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// number reads a counter, framed as values are: a damaged epoch must not pass
// for a low one (invariant 16).
func number(tx *bbolt.Tx, key []byte) (int64, error) {
	b := tx.Bucket(bucketMeta).Get(key)
	if b == nil {
		return 0, nil
	}
	p, err := unpack(key, b)
	return p.Index, err
}

func bump(tx *bbolt.Tx, key []byte) (int64, error) {
	n, err := number(tx, key)
	if err != nil {
		return 0, err
	}
	n++
	if err := tx.Bucket(bucketMeta).Put(key, pack(string(key), nil, n)); err != nil {
		return 0, fmt.Errorf("write %s: %w", key, err)
	}
	return n, nil
}

func pack(key string, value []byte, index int64) []byte {
	b := make([]byte, embeddedHeader, embeddedHeader+len(value))
	binary.BigEndian.PutUint64(b, uint64(index))
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[8:], packedCRC([]byte(key), b))
	return b
}

func packedCRC(key, b []byte) uint32 {
	crc := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, b[:8])
	return crc32.Update(crc, castagnoli, b[embeddedHeader:])
}

func indexOf(b []byte) int64 {
	if len(b) < embeddedHeader {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

func unpack(key, b []byte) (Pair, error) {
	if len(b) < embeddedHeader {
		return Pair{}, &DamagedError{Key: string(key), Cause: fmt.Errorf("%d bytes are no value", len(b))}
	}
	if want, got := binary.BigEndian.Uint32(b[8:]), packedCRC(key, b); want != got {
		return Pair{}, &DamagedError{Key: string(key), Cause: fmt.Errorf("CRC-32C is %08x, not %08x", got, want)}
	}
	return Pair{Key: string(key), Value: bytes.Clone(b[embeddedHeader:]), Index: indexOf(b)}, nil
}
