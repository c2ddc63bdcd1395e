// Package compose starts docker-compose.yml as a user does, kills its containers
// one after the other under load, and looks at what was acknowledged. It needs a
// Docker engine, so it stands behind the build tag `compose` (make compose-test).
//
// Invariant: every acknowledged record is read back at its offset, through every
// gateway.
package compose
