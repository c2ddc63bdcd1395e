package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"moldau": main})
}

// TestScripts runs the verbs as a person types them, each script as a shell
// would, against one platform that lives in this process. Scripts run at once,
// so each has topics of its own name.
func TestScripts(t *testing.T) {
	up := startUp(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("MOLDAU_ADDR", up.grpc)
			env.Setenv("MOLDAU_ADMIN_LISTEN", up.admin)
			env.Setenv("ADDR", up.grpc)
			env.Setenv("DATA", up.data)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails},
	})
}

// fails runs a command that must exit with the given code and say why in one
// line: fails CODE COMMAND…
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	if said := ts.ReadFile("stderr"); strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "moldau: ") {
		ts.Fatalf("not one line: %q", said)
	}
}

// platform is one that runs in this process.
type platform struct{ grpc, http, admin, data string }

var welcomed = regexp.MustCompile(`(?s)gRPC +(\S+)\n +HTTP +http://(\S+).* admin +http://(\S+)`)

// startUp runs the verb up until the test ends, and requires that it ends well.
func startUp(t *testing.T, args ...string) platform {
	t.Helper()
	up := platform{data: filepath.Join(t.TempDir(), "data")}
	ctx, cancel := context.WithCancel(context.Background())
	said := &firstMatch{pattern: welcomed, found: make(chan []string, 1)}
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		args = append([]string{
			"up", "--data", up.data, "--set", "admin_listen=127.0.0.1:0",
			"--set", "gateway.grpc_listen=127.0.0.1:0", "--set", "gateway.http_listen=127.0.0.1:0", "--set", "gateway.kafka_listen=127.0.0.1:0",
		}, args...)
		ended <- run(ctx, args, strings.NewReader(""), said, &log)
	}()
	select {
	case groups := <-said.found:
		up.grpc, up.http, up.admin = groups[1], groups[2], groups[3]
	case code := <-ended:
		t.Fatalf("up ended with code %d: %s", code, log.String())
	}
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("up ended with code %d: %s", code, log.String())
		}
	})
	return up
}

// firstMatch is a writer that tells the first match of a pattern in what is
// written.
type firstMatch struct {
	pattern *regexp.Regexp
	found   chan []string

	mu   sync.Mutex
	text bytes.Buffer
	done bool
}

var _ io.Writer = (*firstMatch)(nil)

func (f *firstMatch) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text.Write(p)
	if groups := f.pattern.FindStringSubmatch(f.text.String()); groups != nil && !f.done {
		f.found <- groups
		f.done = true
	}
	return len(p), nil
}
