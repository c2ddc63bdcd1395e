package testcluster

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
)

// Cluster is a running platform with a data folder of its own: one process, or
// some for each role.
type Cluster struct {
	dataDir string
	origin  string                // allowed to read from browsers; empty is none
	nodes   int                   // storage nodes in one process; 0 is one
	shape   Shape                 // of processes by role; zero is one process
	env     []string              // further settings of each process
	own     func(Member) []string // further settings of one process
	under   func(Member) []string // a program that runs a member's, with its arguments
	logDir  string                // where logs are left when the test ends; empty: nowhere

	grpcAddr, httpAddr, kafkaAddr string           // of the doors started last
	conn                          *grpc.ClientConn // nil until someone asks

	mu        sync.Mutex // members may be started and ended at once by several
	processes []*Process // in river order; the last one is a gateway's
}

// Option shapes a cluster before it starts.
type Option func(*Cluster)

// OnData makes the cluster use a data folder that exists.
func OnData(dir string) Option { return func(c *Cluster) { c.dataDir = dir } }

// KeepLogs leaves the whole log of each process that was started in a folder
// that exists, once the test has ended.
func KeepLogs(dir string) Option { return func(c *Cluster) { c.logDir = dir } }

// AllowOrigin lets pages of another origin read through the HTTP door.
func AllowOrigin(origin string) Option { return func(c *Cluster) { c.origin = origin } }

// WithNodes gives the one process n storage nodes.
func WithNodes(n int) Option { return func(c *Cluster) { c.nodes = n } }

// Start starts the whole platform in one process and waits until it serves.
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	c := newCluster(t, opts)
	c.start(t)
	return c
}

// StartSplit starts each role in a process of its own and waits until all
// serve.
func StartSplit(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	return StartShape(t, Shape{Metadata: 1, StorageNodes: 1, Gateways: 1}, opts...)
}

// Launch starts the platform in one process and reports whether it serves or
// has refused to start.
func Launch(t testing.TB, opts ...Option) (c *Cluster, serves bool) {
	t.Helper()
	c = newCluster(t, opts)
	p := c.launch(t, Member{Role: "up"})
	c.processes = []*Process{p}
	return c, c.waitReady(t, p)
}

func newCluster(t testing.TB, opts []Option) *Cluster {
	t.Helper()
	c := &Cluster{}
	for _, o := range opts {
		o(c)
	}
	if c.dataDir == "" {
		c.dataDir = filepath.Join(t.TempDir(), "data")
	}
	t.Cleanup(c.hangUp)
	return c
}

func (c *Cluster) start(t testing.TB) {
	t.Helper()
	c.processes = nil
	for _, m := range c.shape.members() {
		p := c.launch(t, m)
		c.processes = append(c.processes, p)
		if !c.waitReady(t, p) {
			t.Fatalf("%s ended before it was ready", p.Name)
		}
	}
}

// DataDir is the folder that holds all the cluster's data.
func (c *Cluster) DataDir() string { return c.dataDir }

// Kill ends all processes as kill -9 does.
func (c *Cluster) Kill() {
	for _, p := range c.processes {
		p.Kill()
	}
}

// Stop asks all processes to end, from the doors down, and requires that they
// end well.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].Stop(t)
	}
}

// Restart starts the cluster anew on the same data and waits until it serves.
// Its processes must have ended.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	for _, p := range c.processes {
		if p.Running() {
			t.Fatalf("%s runs still", p.Name)
		}
	}
	c.hangUp()
	c.start(t)
}

// RestartRole kills the first process of one role, starts it anew and waits
// until it serves.
func (c *Cluster) RestartRole(t testing.TB, role string) {
	t.Helper()
	m := Member{Role: role, ID: 1}
	c.Member(t, m).Kill()
	c.StartMember(t, m)
}

// StartRival starts a second platform on the same data, on other ports, and
// does not wait for it.
func (c *Cluster) StartRival(t testing.TB) *Process {
	t.Helper()
	rival := &Cluster{dataDir: c.dataDir}
	return rival.launch(t, Member{Role: "up"})
}

// Running reports whether no process has ended.
func (c *Cluster) Running() bool {
	for _, p := range c.processes {
		if !p.Running() {
			return false
		}
	}
	return true
}

// Signal sends sig to the process that has the doors.
func (c *Cluster) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	c.door().Signal(t, sig)
}

// Exit waits until the process with the doors has ended and returns its code.
func (c *Cluster) Exit(t testing.TB) int {
	t.Helper()
	return c.door().Exit(t)
}

// Log returns what all processes wrote since the last start.
func (c *Cluster) Log() string {
	var b strings.Builder
	for _, p := range c.processes {
		b.WriteString(p.Log())
	}
	return b.String()
}

// ResidentBytes returns how much memory the processes hold together.
func (c *Cluster) ResidentBytes(t testing.TB) int64 {
	t.Helper()
	return c.sum(func(p *Process) int64 { return p.ResidentBytes(t) })
}

// PeakBytes returns the sum of what each process held at its own peak.
func (c *Cluster) PeakBytes(t testing.TB) int64 {
	t.Helper()
	return c.sum(func(p *Process) int64 { return p.PeakBytes(t) })
}

// OpenFiles returns how many file descriptors the processes hold together.
func (c *Cluster) OpenFiles(t testing.TB) int {
	t.Helper()
	return int(c.sum(func(p *Process) int64 { return int64(p.OpenFiles(t)) }))
}

func (c *Cluster) sum(of func(*Process) int64) int64 {
	var n int64
	for _, p := range c.processes {
		n += of(p)
	}
	return n
}

func (c *Cluster) door() *Process { return c.processes[len(c.processes)-1] }

func (c *Cluster) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
