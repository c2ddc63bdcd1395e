package coordinator

import (
	"errors"
	"fmt"
	"time"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/txn"
)

// Config is everything an operator can set on a coordinator. What Kafka calls by
// a name the cluster's settings may say too, and they go first.
type Config struct {
	// ID names the coordinator in its cluster, at least 0. It never changes.
	ID int32
	// Advertise is the address that gateways and other coordinators reach
	// CoordinatorService by.
	Advertise string

	// HeartbeatInterval between signs of life to the controller.
	HeartbeatInterval time.Duration
	// Lease is how long the coordinator answers after the last sign of life that
	// the controller has confirmed (R12). It must be shorter than the controller's
	// fence timeout, 4 s, after which others answer.
	Lease time.Duration
	// AppendTimeout is how long an append to a journal is tried before its outcome
	// counts as unknown: offsets.commit.timeout.ms.
	AppendTimeout time.Duration
	// CallTimeout bounds one call to a storage node.
	CallTimeout time.Duration
	// MaxWaiting bounds the requests of one shard that wait for their answer at
	// once; each member that joins is one.
	MaxWaiting int

	Groups       group.Config
	Transactions txn.Config
}

// DefaultConfig is Kafka's where Kafka has the setting.
func DefaultConfig() Config {
	return Config{
		HeartbeatInterval: 500 * time.Millisecond,
		Lease:             3 * time.Second,
		AppendTimeout:     5 * time.Second,
		CallTimeout:       2 * time.Second,
		MaxWaiting:        20_000,
		Groups:            group.DefaultConfig(),
		Transactions:      txn.DefaultConfig(),
	}
}

// Validate names all settings that cannot be.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("coordinator: "+format, args...))
		}
	}
	need(c.ID >= 0, "id %d is negative", c.ID)
	need(c.Advertise != "", "no address")
	need(c.HeartbeatInterval > 0, "heartbeat interval %s", c.HeartbeatInterval)
	need(c.Lease > c.HeartbeatInterval, "lease %s is not above the heartbeat interval %s", c.Lease, c.HeartbeatInterval)
	need(c.AppendTimeout > 0, "append timeout %s", c.AppendTimeout)
	need(c.CallTimeout > 0, "call timeout %s", c.CallTimeout)
	need(c.MaxWaiting > 0, "max waiting %d", c.MaxWaiting)
	return errors.Join(errs...)
}
