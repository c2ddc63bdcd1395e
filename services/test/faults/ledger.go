//go:build faults

package faults

import "moldau.dev/services/test/campaign"

// Entry is one line of the ledger: what a run did and found.
type Entry struct {
	campaign.Run
	Seed       uint64         `json:"seed"`
	Seconds    int            `json:"seconds"`
	Operations int            `json:"operations"`
	Acked      int            `json:"acked"`
	Unknown    int            `json:"unknown"`
	Read       int            `json:"read"`
	Faults     map[string]int `json:"faults"`
	// Of the workloads that need coordinators: transactions that were asked to
	// commit or abort, records copied exactly once, claims of group members, and
	// commits and fetches of offsets.
	Transactions int `json:"transactions,omitempty"`
	Copied       int `json:"copied,omitempty"`
	Claims       int `json:"claims,omitempty"`
	Offsets      int `json:"offsets,omitempty"`
	Anomalies    int `json:"anomalies"`
}
