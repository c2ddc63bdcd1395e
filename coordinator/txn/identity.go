package txn

import (
	"fmt"
	"math"
)

// Identity is what a producer shows on every request: its id and epoch.
type Identity struct {
	ProducerID int64
	Epoch      int16
}

// Nobody is no identity.
var Nobody = Identity{-1, -1}

func (i Identity) String() string { return fmt.Sprintf("%d/%d", i.ProducerID, i.Epoch) }

// lastEpoch is the last epoch that a producer is given: the one above it is
// kept for the marker that ends its last transaction (T5).
const lastEpoch = math.MaxInt16 - 1

func (i Identity) exhausted() bool { return i.Epoch >= lastEpoch }

// raised is the same producer with the next epoch.
func (i Identity) raised() Identity { return Identity{i.ProducerID, i.Epoch + 1} }
