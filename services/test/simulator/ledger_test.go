package simulator

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// ledgerVar names the file that a campaign is added to; without it the campaign
// is only logged.
const ledgerVar = "MOLDAU_LEDGER"

// Entry is one line of the ledger: what a campaign ran and found.
type Entry struct {
	Date       string         `json:"date"`
	Commit     string         `json:"commit"`
	Suite      string         `json:"suite"`
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

// note adds a campaign to the ledger, or shows it.
func note(t *testing.T, e Entry) {
	t.Helper()
	e.Date = time.Now().UTC().Format(time.DateOnly)
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
