package testcluster

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"
)

// Result is what a command did.
type Result struct {
	Stdout []byte
	Stderr string
	Code   int
}

// Command runs the binary once with the given input and waits for its end.
func Command(t testing.TB, env []string, stdin io.Reader, args ...string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(Context(t), Binary(t), args...)
	cmd.Env = append(cleanEnv(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", args, err)
	}
	return Result{stdout.Bytes(), stderr.String(), cmd.ProcessState.ExitCode()}
}
