package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Process is one running process of the binary.
type Process struct {
	Name string

	member  Member
	listens []string // of a gateway (gRPC, HTTP, Kafka) or metadata, once it serves

	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{}
	err    error // of Wait; read it after exited is closed
}

// StartProcess starts the binary with args and environment variables beside
// the test's own. It does not wait for readiness.
func StartProcess(t testing.TB, name string, env []string, args ...string) *Process {
	t.Helper()
	return StartProgram(t, name, Binary(t), env, args...)
}

// StartProgram is StartProcess of another program.
func StartProgram(t testing.TB, name, path string, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, log: newLogBuffer(), exited: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(cleanEnv(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
		p.log.close()
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, tail(p.log.String(), 16<<10))
		}
	})
	return p
}

// cleanEnv is the test's environment without settings for the binary: neither
// variables nor a user's config folder.
func cleanEnv() []string {
	env := []string{"XDG_CONFIG_HOME=" + filepath.Join(built.dir, "no-config")}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MOLDAU_") && !strings.HasPrefix(kv, "XDG_CONFIG_HOME=") {
			env = append(env, kv)
		}
	}
	return env
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns what the process wrote so far.
func (p *Process) Log() string { return p.log.String() }

// SawLog waits until the process writes a match of pattern and returns its
// groups, or nil if the process has ended without.
func (p *Process) SawLog(t testing.TB, pattern string) []string {
	t.Helper()
	groups, err := p.log.wait(Context(t), regexp.MustCompile(pattern))
	if err != nil && !errors.Is(err, errEnded) {
		t.Fatalf("%s neither wrote %q nor ended: %v", p.Name, pattern, err)
	}
	return groups
}

// Kill ends the process as kill -9 does and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Signal sends sig.
func (p *Process) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal %s: %v", p.Name, err)
	}
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Exit waits until the process ends and returns its exit code, -1 after a
// signal.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-Context(t).Done():
		t.Fatalf("%s does not end", p.Name)
		return 0
	}
}

// Stop asks the process to end, as an orchestrator does, and requires that it
// ends well.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	if code := p.Exit(t); code != 0 {
		t.Fatalf("%s ended with code %d after SIGTERM", p.Name, code)
	}
}

// ResidentBytes returns how much memory the process holds, and PeakBytes how
// much it held at the most.
func (p *Process) ResidentBytes(t testing.TB) int64 { return p.status(t, "VmRSS") }

// PeakBytes returns the most memory that the process held so far.
func (p *Process) PeakBytes(t testing.TB) int64 { return p.status(t, "VmHWM") }

func (p *Process) status(t testing.TB, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatalf("read the status of %s: %v", p.Name, err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != field {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			t.Fatalf("status of %s: %q", p.Name, line)
		}
		return kib << 10
	}
	t.Fatalf("status of %s has no %s", p.Name, field)
	return 0
}

// OpenFiles returns how many file descriptors the process holds.
func (p *Process) OpenFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	if err != nil {
		t.Fatalf("list the files of %s: %v", p.Name, err)
	}
	return len(list)
}

var errEnded = errors.New("the process has ended")

// logBuffer keeps what a process writes and wakes those who wait for it.
type logBuffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced at each change
	closed  bool
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

// Write implements io.Writer.
func (b *logBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(text)
}

func (b *logBuffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	close(b.changed)
	b.changed = make(chan struct{})
}

// String returns all that was written.
func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) wait(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		b.mu.Lock()
		groups := pattern.FindStringSubmatch(b.text.String())
		changed, closed := b.changed, b.closed
		b.mu.Unlock()
		switch {
		case groups != nil:
			return groups, nil
		case closed:
			return nil, errEnded
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// keepLog writes the log of a process to a file of its own, by name and pid.
func keepLog(t testing.TB, dir string, p *Process) {
	path := filepath.Join(dir, fmt.Sprintf("%s.%d.log", p.Name, p.Pid()))
	if err := os.WriteFile(path, []byte(p.Log()), 0o644); err != nil {
		t.Errorf("keep the log of %s: %v", p.Name, err)
	}
}

func tail(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return "…" + text[len(text)-size:]
}
