package txn

import (
	"math"
	"strconv"

	"moldau.dev/metadata/metadataclient"
)

// Config shapes a Machine. The names are those of Kafka's broker configs, by
// which the cluster may set them too.
type Config struct {
	// MaxTimeoutMs is the longest that a client may keep a transaction open:
	// transaction.max.timeout.ms.
	MaxTimeoutMs int32
	// IDExpirationMs is how long an id is remembered that nobody uses:
	// transactional.id.expiration.ms.
	IDExpirationMs int32
}

// DefaultConfig is Kafka's: 15 minutes and 7 days.
func DefaultConfig() Config { return Config{MaxTimeoutMs: 900_000, IDExpirationMs: 604_800_000} }

// configure takes the cluster's settings, and tells whether timers must be set
// anew. What cannot be is as if it were not set.
func (m *Machine) configure(s *metadataclient.Settings) (changed bool) {
	next := m.base
	for name, to := range map[string]*int32{
		"transaction.max.timeout.ms": &next.MaxTimeoutMs, "transactional.id.expiration.ms": &next.IDExpirationMs,
	} {
		if n, err := strconv.ParseInt(s.Configs[name], 10, 64); err == nil && n > 0 && n <= math.MaxInt32 {
			*to = int32(n)
		}
	}
	changed = next.IDExpirationMs != m.cfg.IDExpirationMs
	m.cfg = next
	return changed
}
