//go:build consul

package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
	"moldau.dev/services/clock"
	"moldau.dev/services/discovery"
	"moldau.dev/services/test/consultest"
)

func reach(t *testing.T, a *consultest.Agent, prefix string) *store.Consul {
	t.Helper()
	c, err := store.NewConsul(discovery.ConsulConfig{Address: a.Addr(), Prefix: prefix}, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestConsul(t *testing.T) {
	agent := consultest.Start(t)
	var truths atomic.Int64
	storetest.Run(t, func(t *testing.T) storetest.Truth {
		prefix := fmt.Sprintf("truth/%d/", truths.Add(1))
		return func() store.Store { return reach(t, agent, prefix) }
	})
}
