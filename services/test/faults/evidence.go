//go:build faults

package faults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moldau.dev/services/test/faults/history"
	"moldau.dev/services/test/testcluster"
)

// keepVar names a folder in which a run that failed leaves what tells why: the
// data, the logs with all details, what was broken when and what clients saw.
// Without it nothing is left.
const keepVar = "MOLDAU_FAULT_KEEP"

// evidence is what one run leaves.
type evidence struct{ dir string }

// gather makes the folder of a run, and the settings of a cluster that fills it.
func gather(t *testing.T) (evidence, []testcluster.Option) {
	t.Helper()
	parent := os.Getenv(keepVar)
	if parent == "" {
		return evidence{}, nil
	}
	dir, err := os.MkdirTemp(parent, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	e := evidence{dir}
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after those of the cluster, which is started later
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	return e, []testcluster.Option{
		testcluster.OnData(filepath.Join(dir, "data")), testcluster.KeepLogs(logs), testcluster.WithEnv("MOLDAU_LOG_LEVEL=debug"),
	}
}

// keep writes what was broken, and what clients did and read at the end. Times
// in histories are nanoseconds since begin.
func (e evidence) keep(t *testing.T, begin time.Time, broken []string, ops []history.Op, final map[string][]int64) {
	t.Helper()
	if e.dir == "" || !t.Failed() {
		return
	}
	t.Logf("kept in %s", e.dir)
	story := "begin " + begin.UTC().Format(time.RFC3339Nano) + "\n" + strings.Join(broken, "\n") + "\n"
	for name, content := range map[string]any{"history.json": ops, "final.json": final} {
		text, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(e.dir, name), text, 0o644)
		}
		if err != nil {
			t.Errorf("keep %s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(e.dir, "faults.txt"), []byte(story), 0o644); err != nil {
		t.Errorf("keep the faults: %v", err)
	}
}
