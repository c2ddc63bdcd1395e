//go:build cluster

package cluster

import (
	"testing"

	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }
