// Package faults breaks a running cluster on purpose while clients of several
// doors work on it, and judges what they saw: nothing that was acknowledged may
// be lost, doubled, torn or reordered. The runs need minutes and stand behind
// the build tag `faults`; what they did is kept in a ledger.
package faults
