//go:build mutants

package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"moldau.dev/services/test/campaign"
)

// The mutation gate: each mutant is the platform with one rule broken, and the
// simulator must notice, in at most mutantSeeds seeds. A simulator that misses
// one is no evidence for the rule.

// mutant is one change of one file.
type mutant struct {
	name string // the rule that is broken
	file string // from the module's root
	old  string // exactly once in the file: else the gate fails, since it proves nothing any more
	new  string
	// by matches what the violation says: the invariant that must notice.
	by string
}

const (
	mutantSeeds = 2000
	// mutantsVar picks mutants by a regular expression on their names.
	mutantsVar = "MOLDAU_MUTANTS"
	root       = "../../.."
)

// TestEveryMutantIsCaught builds each mutant and runs seeds until one breaks
// the invariant.
func TestEveryMutantIsCaught(t *testing.T) {
	pick, err := regexp.Compile(os.Getenv(mutantsVar))
	if err != nil {
		t.Fatalf("%s: %v", mutantsVar, err)
	}
	var drawn []mutant
	seen := map[string]bool{}
	for _, m := range mutants() {
		if seen[m.name] {
			t.Fatalf("two mutants are named %q", m.name)
		}
		seen[m.name] = true
		if pick.MatchString(m.name) {
			drawn = append(drawn, m)
		}
	}
	var lines [][2]string
	var mu sync.Mutex
	var workers sync.WaitGroup
	queue := make(chan mutant)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for m := range queue {
				caught, err := m.run(t.Context(), t.TempDir())
				if err != nil {
					t.Errorf("%s: %v", m.name, err)
				}
				mu.Lock()
				lines = append(lines, [2]string{m.name, caught})
				mu.Unlock()
				t.Logf("%s: %s", m.name, caught)
			}
		})
	}
	for _, m := range drawn {
		queue <- m
	}
	close(queue)
	workers.Wait()
	if len(lines) == 0 {
		t.Fatalf("no mutant is named like %q", pick)
	}
}

// mutants are all of the gate.
func mutants() []mutant {
	return replicationMutants
}

// run builds the mutant and returns which seed caught it, and how.
func (m *mutant) run(ctx context.Context, dir string) (caught string, err error) {
	binary, err := m.build(ctx, dir)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^TestSeedsUntilOneFails$", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", seedsVar, mutantSeeds), firstVar+"=1", "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", fmt.Errorf("survives %d seeds", mutantSeeds)
	}
	found := violated.FindStringSubmatch(string(out))
	if found == nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	caught = fmt.Sprintf("seed %s: %s", found[1], found[2])
	if by, err := regexp.MatchString(m.by, found[2]); err != nil || !by {
		return caught, errors.Join(fmt.Errorf("caught by another invariant than %q: %s", m.by, caught), err)
	}
	return caught, nil
}

var violated = regexp.MustCompile(`violation with seed (\d+): (.*)`)

// build makes a test binary of the simulator in which one file is another.
func (m *mutant) build(ctx context.Context, dir string) (binary string, err error) {
	file, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("%s has %d times the text that is to change:\n%s", m.file, n, m.old)
	}
	changed, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, replace, 0o644); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "mutant.test")
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "mutants", "-vet=off", "-overlay", overlay, "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
}

// TestSeedsUntilOneFails is what a mutant runs. Without a mutant it runs a few
// seeds, and none fails.
func TestSeedsUntilOneFails(t *testing.T) {
	first, count := campaign.Number(t, firstVar, 1), campaign.Number(t, seedsVar, 20)
	for seed := first; seed < first+count; seed++ {
		if v := violationOf(seed); v != "" {
			t.Fatalf("violation with seed %d: %s", seed, strings.ReplaceAll(v, "\n", " "))
		}
	}
}

// violationOf runs a seed; a core that panics has noticed that a rule is broken,
// too.
func violationOf(seed uint64) (v string) {
	defer func() {
		if r := recover(); r != nil {
			v = fmt.Sprintf("panic: %v", r)
		}
	}()
	return Run(Options{Seed: seed, Bare: true}).Violation // no mutant is a coordinator's yet
}
