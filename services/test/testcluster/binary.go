// Package testcluster runs the real binary in real processes for tests that
// look at the platform from outside. It builds the binary once per test run,
// gives each cluster a data folder of its own and ports that the kernel chose,
// and waits for what a process says, never for time to pass.
//
// Invariant: no process outlives its test, and what a process wrote to its
// log is shown if the test fails.
package testcluster

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const binaryPackage = "moldau.dev/services/moldau"

var built = struct {
	once sync.Once
	dir  string
	path string
	err  error
}{}

// Main is the TestMain of a package that starts clusters: it removes the
// binary when the tests are over.
func Main(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// Binary returns the path of the binary, built from the sources of this
// module.
func Binary(t testing.TB) string {
	t.Helper()
	built.once.Do(build)
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func build() {
	built.dir, built.err = os.MkdirTemp("", "moldau-test-")
	if built.err != nil {
		return
	}
	if built.err = noteSources(); built.err != nil {
		return
	}
	built.path = filepath.Join(built.dir, "moldau")
	out, err := exec.Command("go", "build", "-o", built.path, binaryPackage).CombinedOutput()
	if err != nil {
		built.err = fmt.Errorf("build %s: %w\n%s", binaryPackage, err, out)
	}
}

// noteSources looks at every source file of the module. The go command keeps
// the result of a test until a file changes that the test looked at, and it
// cannot see what a binary is built from.
func noteSources() error {
	file, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(file)))
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go"):
			_, err = os.Stat(path)
			return err
		}
		return nil
	})
}
