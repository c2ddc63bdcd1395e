//go:build kafkaclients

package kafkaclients

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"moldau.dev/services/test/testcluster"
)

// tools is where `install` puts what Debian does not have.
const tools = "../../../bin/kafka-clients"

// patience ends a client that hangs, so that its test says which one.
const patience = 3 * time.Minute

func TestMain(m *testing.M) { testcluster.Main(m) }

// program is a client as a command, but for the arguments of each call.
type program []string

func (p program) cmd(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	all := append(p[1:len(p):len(p)], args...)
	cmd := exec.CommandContext(ctx, p[0], all...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run returns what the program printed; it must end well.
func (p program) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(testcluster.Context(t), patience)
	defer cancel()
	cmd := p.cmd(ctx, stdin, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(cmd.Args, " "), err, errs.String(), last(out.String(), 2000))
	}
	return out.String()
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// java is a main class of Kafka's.
func java(class string) program {
	return program{
		"java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(tools, "java", "*"),
		"-Dlog4j2.configurationFile=testdata/log4j2.properties", class,
	}
}

func python(script string) program {
	return program{filepath.Join(tools, "python", "bin", "python"), filepath.Join("testdata", script)}
}

func node(script string) program {
	modules, err := filepath.Abs(filepath.Join(tools, "node_modules"))
	if err != nil {
		panic(err)
	}
	return program{"env", "NODE_PATH=" + modules, "KAFKAJS_NO_PARTITIONER_WARNING=1", "node", filepath.Join("testdata", script)}
}

// goProgram is one of the module in go/.
func goProgram(name string) program { return program{filepath.Join(tools, "go", name)} }
