// Package campaign makes long runs of short tests: the variables that say how long,
// and the ledger of what was run and found.
package campaign

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// LedgerVar names the file that runs are added to; without it they are only logged.
const LedgerVar = "MOLDAU_LEDGER"

// Number is a variable of the environment, or otherwise where it is not set.
func Number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// Run is how each line of the ledger begins.
type Run struct {
	Date   string `json:"date"`
	Commit string `json:"commit"` // of the checkout, when the run began
	Suite  string `json:"suite"`
}

// Begin says what is being run.
func Begin(suite string) Run {
	r := Run{Date: time.Now().UTC().Format(time.DateOnly), Suite: suite}
	if rev, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(rev))
	}
	return r
}

// Note adds a line, a struct that embeds Run, to the ledger, and shows it.
func Note(t testing.TB, line any) {
	t.Helper()
	text, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	path := os.Getenv(LedgerVar)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
