// Package apachekafka runs brokers of Apache Kafka, from the jars that
// services/test/kafkaclients/install brings, for tests that compare with it.
package apachekafka

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	jars      = "bin/kafka-clients/java"
	logging   = "services/test/kafkaclients/testdata/log4j2.properties"
	clusterID = "bW9sZGF1LWJlbmNobWFyaw"

	// startPatience is for a machine that has much else to do.
	startPatience = 4 * time.Minute
)

// Cluster is running brokers, each its own controller as well.
type Cluster struct {
	Addr string // of the first broker
	PIDs []int
}

// Start starts brokers 1 to n with heaps of that size, the configs that Kafka
// has by default and the given ones beside them, as KEY=VALUE. They end with
// the test.
func Start(t *testing.T, n, heapMiB int, configs ...string) Cluster {
	t.Helper()
	root := moduleRoot(t)
	if _, err := os.Stat(filepath.Join(root, jars)); err != nil {
		t.Fatalf("no Apache Kafka: services/test/kafkaclients/install brings it (%v)", err)
	}
	java := func(class string, args ...string) *exec.Cmd {
		return exec.Command("java", append([]string{
			fmt.Sprintf("-Xmx%dm", heapMiB), fmt.Sprintf("-Xms%dm", heapMiB), "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
			"-cp", filepath.Join(root, jars, "*"), "-Dlog4j2.configurationFile=" + filepath.Join(root, logging), class,
		}, args...)...)
	}
	dir, ports := t.TempDir(), freePorts(t, 2*n)
	var voters []string
	for i := range n {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[2*i+1]))
	}
	c := Cluster{Addr: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("broker-%d.properties", i+1))
		config := append([]string{
			"process.roles=broker,controller", fmt.Sprintf("node.id=%d", i+1),
			"controller.quorum.voters=" + strings.Join(voters, ","), "controller.listener.names=CONTROLLER",
			"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
			fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[2*i], ports[2*i+1]),
			"log.dirs=" + filepath.Join(dir, fmt.Sprintf("data-%d", i+1)),
		}, configs...)
		if err := os.WriteFile(file, []byte(strings.Join(config, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := java("kafka.tools.StorageTool", "format", "-t", clusterID, "-c", file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c.PIDs = append(c.PIDs, start(t, java("kafka.Kafka", file), filepath.Join(dir, fmt.Sprintf("broker-%d.log", i+1))))
	}
	for i := range n {
		awaitListener(t, fmt.Sprintf("127.0.0.1:%d", ports[2*i]))
	}
	return c
}

func start(t *testing.T, broker *exec.Cmd, logFile string) (pid int) {
	t.Helper()
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	broker.Stdout, broker.Stderr = log, log
	broker.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = broker.Process.Kill()
		_ = broker.Wait()
		_ = log.Close()
	})
	return broker.Process.Pid
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// freePorts are ports that nobody listens at: Kafka's quorum must know them
// before it starts.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // others listen there next
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func awaitListener(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatalf("nobody listens at %s", addr)
}
