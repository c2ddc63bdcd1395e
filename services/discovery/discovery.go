// Package discovery finds the running instances of a role. Doors dial
// "moldau:///role" through services/transport with this package's resolver; a
// [Source] says who runs: a fixed list here, the Consul catalog in a cluster.
//
// Invariant: a source always delivers whole lists, so a lost update is made
// good by the next one.
package discovery

import (
	"context"
	"slices"
	"strings"
)

// Instance is one running process of a role.
type Instance struct {
	ID   string // unique within the role
	Addr string // host:port of its gRPC listener
	Rack string // where it stands; empty if nobody said
}

// Source tells who runs.
type Source interface {
	// Watch calls update with all instances of role, sorted by ID, now and
	// after each change, one call at a time, until ctx ends. It returns
	// ctx's error, or why it cannot go on. update keeps the slice.
	Watch(ctx context.Context, role string, update func([]Instance)) error
}

// Static is a source of fixed lists by role.
type Static map[string][]Instance

// Watch calls update once and waits for the end of ctx.
func (s Static) Watch(ctx context.Context, role string, update func([]Instance)) error {
	list := slices.Clone(s[role])
	slices.SortFunc(list, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	update(list)
	<-ctx.Done()
	return ctx.Err()
}
