//go:build faults

package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// ledgerVar names the file that a run is added to; without it a run is only
// logged.
const ledgerVar = "MOLDAU_LEDGER"

// Entry is one line of the ledger: what a run did and found.
type Entry struct {
	Date       string         `json:"date"`
	Commit     string         `json:"commit"`
	Suite      string         `json:"suite"`
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

// note adds a run to the ledger, or shows it.
func note(t *testing.T, e Entry) {
	t.Helper()
	if rev, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		e.Commit = strings.TrimSpace(string(rev))
	}
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", line)
	path := os.Getenv(ledgerVar)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, "%s\n", line); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
