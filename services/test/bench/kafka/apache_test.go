//go:build benchkafka

package kafka

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// jars is where the tests of Kafka's clients install Apache Kafka.
const jars = "../../../../bin/kafka-clients/java"

// apache is brokers of Apache Kafka, each its own controller as well, with the
// configs that Kafka has by default.
type apache struct {
	addr string // of the first
	pids []string
}

const mainClass, storageTool = "kafka.Kafka", "kafka.tools.StorageTool"

func startApache(t *testing.T, brokers, heapMiB int) apache {
	t.Helper()
	if _, err := os.Stat(jars); err != nil {
		t.Fatalf("no Apache Kafka: services/test/kafkaclients/install brings it (%v)", err)
	}
	dir, ports := t.TempDir(), freePorts(t, 2*brokers)
	var voters []string
	for i := range brokers {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[2*i+1]))
	}
	a := apache{addr: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	for i := range brokers {
		file := filepath.Join(dir, fmt.Sprintf("broker-%d.properties", i+1))
		config := []string{
			"process.roles=broker,controller", fmt.Sprintf("node.id=%d", i+1),
			"controller.quorum.voters=" + strings.Join(voters, ","), "controller.listener.names=CONTROLLER",
			"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
			fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[2*i], ports[2*i+1]),
			"log.dirs=" + filepath.Join(dir, fmt.Sprintf("data-%d", i+1)),
		}
		if err := os.WriteFile(file, []byte(strings.Join(config, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		const clusterID = "bW9sZGF1LWJlbmNobWFyaw"
		if out, err := java(heapMiB, storageTool, "format", "-t", clusterID, "-c", file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		broker := java(heapMiB, mainClass, file)
		log, err := os.Create(filepath.Join(dir, fmt.Sprintf("broker-%d.log", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		broker.Stdout, broker.Stderr = log, log
		if err := broker.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = broker.Process.Kill()
			_ = broker.Wait()
			_ = log.Close()
		})
		a.pids = append(a.pids, strconv.Itoa(broker.Process.Pid))
	}
	for i := range brokers {
		awaitListener(t, fmt.Sprintf("127.0.0.1:%d", ports[2*i]))
	}
	return a
}

func java(heapMiB int, class string, args ...string) *exec.Cmd {
	return exec.Command("java", append([]string{
		fmt.Sprintf("-Xmx%dm", heapMiB), fmt.Sprintf("-Xms%dm", heapMiB), "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-cp", filepath.Join(jars, "*"), "-Dlog4j2.configurationFile=../../kafkaclients/testdata/log4j2.properties", class,
	}, args...)...)
}

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
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatalf("nobody listens at %s", addr)
}
