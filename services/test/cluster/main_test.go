// Package cluster runs whole clusters of several storage nodes in processes of
// their own, takes nodes away and brings them back under clients at work.
//
// Invariant: a record that was acknowledged is read afterwards, once, at the
// offset that its answer named.
package cluster

import (
	"testing"

	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }
