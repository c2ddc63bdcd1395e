// Package e2e looks at the platform from outside: real processes of the one
// binary, reached through its own doors only.
package e2e

import (
	"testing"

	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }
