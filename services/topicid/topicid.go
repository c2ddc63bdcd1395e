// Package topicid identifies one incarnation of a topic. A topic that is
// deleted and created again under the same name has another id, so stale data
// and stale clients can be told apart (KIP-516, invariant 18).
package topicid

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// ID is 16 bytes: a version 4 UUID. The zero ID names no topic.
type ID [16]byte

// New returns a random ID. It never starts with the bits that would render as
// a leading dash, which Kafka's tools would take for a flag.
func New() ID {
	for {
		var id ID
		_, _ = rand.Read(id[:]) // crypto/rand.Read never fails since Go 1.24
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// FromBytes returns the ID held in b, which must be 16 bytes long.
func FromBytes(b []byte) (ID, error) {
	if len(b) != len(ID{}) {
		return ID{}, fmt.Errorf("topic id of %d bytes, want 16", len(b))
	}
	return ID(b), nil
}

// Parse reads the form that String writes.
func Parse(s string) (ID, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return ID{}, fmt.Errorf("topic id %q: %w", s, err)
	}
	return FromBytes(b)
}

// IsZero tells whether id names no topic.
func (id ID) IsZero() bool { return id == ID{} }

// String renders the ID as Kafka's tools do: 22 characters of unpadded
// base64url.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }
