package simulator

import (
	"strings"

	"moldau.dev/services/test/campaign"
)

// Entry is one line of the ledger: what a campaign ran and found.
type Entry struct {
	campaign.Run
	First      uint64         `json:"first_seed"`
	Seeds      int            `json:"seeds"`
	Operations int            `json:"operations"` // events
	Acked      int            `json:"acked"`      // records
	Faults     map[string]int `json:"faults"`
	Violations int            `json:"violations"`
}

func (e *Entry) add(r *Result) {
	e.Seeds++
	e.Operations += r.Events
	e.Acked += r.Acked
	for _, f := range r.Faults {
		_, kind, _ := strings.Cut(f, " ")
		e.Faults[kind]++
	}
	if r.Violation != "" {
		e.Violations++
	}
}
