// Package journal is the durable memory of a coordinator's shard: one partition
// of a compacted internal topic, which one owner at a time writes. Above it
// shard applies what is durable and answers; below it are the storage nodes,
// through storageclient. FORMAT.md has the byte tables.
//
// Invariant: what Append returned nil for is what every later Open replays, in
// the order appended, and nothing else is (invariants 20 and 21).
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Record is one entry: the newest of each key counts. A nil Value deletes what
// was there before.
type Record struct {
	Key, Value []byte
}

// Size is about how many bytes the record takes in a batch.
func (r Record) Size() int { return len(r.Key) + len(r.Value) + recordOverhead }

// recordOverhead is the most that a batch adds to a record without headers.
const recordOverhead = 32

// Kind tells what a key names. Each state machine has kinds of its own; 0 is
// the journal's.
type Kind byte

const (
	keyVersion   = 1
	valueVersion = 1

	maxParts     = 8
	maxPartBytes = 1<<16 - 1
)

// Put returns the record that sets what a key names. Parts name it within its
// kind; each is at most 65,535 bytes, and there are at most 8.
func Put(kind Kind, value proto.Message, parts ...string) Record {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{valueVersion}, value)
	if err != nil { // a string that is not UTF-8, which the API lets no one hand in
		panic(fmt.Sprintf("journal: a value of kind %d cannot be written: %v", kind, err))
	}
	return Record{Key: Key(kind, parts...), Value: b}
}

// Drop returns the record that deletes what a key names.
func Drop(kind Kind, parts ...string) Record { return Record{Key: Key(kind, parts...)} }

// Key returns the key of one kind and its parts.
func Key(kind Kind, parts ...string) []byte {
	if len(parts) > maxParts {
		panic(fmt.Sprintf("journal: a key of %d parts", len(parts)))
	}
	size := 2
	for _, p := range parts {
		if len(p) > maxPartBytes {
			panic(fmt.Sprintf("journal: a part of %d bytes in a key of kind %d", len(p), kind))
		}
		size += binary.MaxVarintLen16 + len(p)
	}
	key := append(make([]byte, 0, size), keyVersion, byte(kind))
	for _, p := range parts {
		key = binary.AppendUvarint(key, uint64(len(p)))
		key = append(key, p...)
	}
	return key
}

// errKey says that bytes are no key of this version.
var errKey = errors.New("journal: not a key of a version that is known here")

// ParseKey is the way back from Key. Whoever meets a kind that it does not know
// must stop: a newer version wrote it.
func ParseKey(key []byte) (kind Kind, parts []string, err error) {
	if len(key) < 2 || key[0] != keyVersion {
		return 0, nil, errKey
	}
	kind, key = Kind(key[1]), key[2:]
	for len(key) > 0 {
		size, n := binary.Uvarint(key)
		if n <= 0 || size > maxPartBytes || size > uint64(len(key)-n) || len(parts) == maxParts {
			return 0, nil, errKey
		}
		parts = append(parts, string(key[n:n+int(size)]))
		key = key[n+int(size):]
	}
	return kind, parts, nil
}

// ReadValue reads the value of a record, which must not be nil, into a message.
// Nothing in it refers to value afterwards.
func ReadValue(value []byte, into proto.Message) error {
	if len(value) == 0 || value[0] != valueVersion {
		return errors.New("journal: not a value of a version that is known here")
	}
	if err := proto.Unmarshal(value[1:], into); err != nil {
		return fmt.Errorf("journal: read a value: %w", err)
	}
	return nil
}
