package testcluster

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file is all that knows how the binary is told its settings, and how it
// says that it serves.

// anyPort leaves the choice to the process, which says what it chose.
const anyPort = "127.0.0.1:0"

// launch starts one process of the cluster.
func (c *Cluster) launch(t testing.TB, m Member) *Process {
	t.Helper()
	env := []string{
		"MOLDAU_DATA_DIR=" + c.dataDir,
		"MOLDAU_ADMIN_LISTEN=" + anyPort,
		"MOLDAU_STORAGE_NODE_LISTEN=" + anyPort,
		"MOLDAU_COORDINATOR_LISTEN=" + anyPort,
		"MOLDAU_GATEWAY_AUTO_CREATE_TOPICS=false",
	}
	if m.ID > 0 {
		env = append(env, "MOLDAU_STORAGE_NODE_ID="+strconv.Itoa(m.ID), "MOLDAU_COORDINATOR_ID="+strconv.Itoa(m.ID), "MOLDAU_GATEWAY_NODE_ID="+strconv.Itoa(m.ID))
	}
	if target := c.metadataTarget(); target != "" {
		env = append(env, "MOLDAU_METADATA_TARGET="+target)
	}
	env = append(env, c.env...)
	if c.own != nil {
		env = append(env, c.own(m)...)
	}
	for setting, addr := range c.listens(m) {
		env = append(env, setting+"="+addr)
	}
	if c.origin != "" {
		env = append(env, "MOLDAU_GATEWAY_ALLOWED_ORIGINS="+c.origin)
	}
	args := []string{m.Role}
	if c.nodes > 0 {
		args = append(args, "--nodes", strconv.Itoa(c.nodes))
	}
	program := Binary(t)
	if c.under != nil {
		if outer := c.under(m); len(outer) > 0 {
			program, args = outer[0], slices.Concat(outer[1:], []string{program}, args)
		}
	}
	p := StartProgram(t, m.Name(), program, env, args...)
	p.member = m
	if c.logDir != "" {
		t.Cleanup(func() { keepLog(t, c.logDir, p) })
	}
	return p
}

// clientEnv tells the command line where the cluster is.
func (c *Cluster) clientEnv() []string { return []string{"MOLDAU_ADDR=" + c.grpcAddr} }

// What a process writes once it serves; the groups are addresses.
var saysReady = map[string]string{
	"up":           `(?s)moldau is up;.*gRPC +(\S+)\n +HTTP +http://(\S+).*Kafka +(\S+)\n.*Try, `,
	"metadata":     `(?s)msg="metadata listens" addr=(\S+).*state=READY`,
	"storage-node": `state=READY`,
	"coordinator":  `state=READY`,
	"gateway":      `(?s)msg="gateway listens" grpc_addr=(\S+) http_addr=(\S+) kafka_addr=(\S+).*state=READY`,
}

// waitReady waits until p serves, notes where, and reports false if it has
// ended instead.
func (c *Cluster) waitReady(t testing.TB, p *Process) bool {
	t.Helper()
	said := p.SawLog(t, saysReady[p.member.Role])
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case said == nil:
		return false
	case p.member.Role == "metadata":
		p.listens = said[1:]
	case len(said) == 4:
		p.listens = said[1:]
		c.grpcAddr, c.httpAddr, c.kafkaAddr = said[1], said[2], said[3]
	}
	return true
}

// metadataTarget is where roles find metadata: all its processes.
func (c *Cluster) metadataTarget() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, p := range c.processes {
		if p.member.Role == "metadata" && p.listens != nil {
			list = append(list, p.listens[0])
		}
	}
	return strings.Join(list, ",")
}

// listens are the settings of the ports that others know a member by: what the
// kernel chooses, and then the same again.
func (c *Cluster) listens(m Member) map[string]string {
	settings := []string{"MOLDAU_GATEWAY_GRPC_LISTEN", "MOLDAU_GATEWAY_HTTP_LISTEN", "MOLDAU_GATEWAY_KAFKA_LISTEN"}
	if m.Role == "metadata" {
		settings = []string{"MOLDAU_METADATA_LISTEN"}
	}
	list := map[string]string{"MOLDAU_METADATA_LISTEN": anyPort}
	for i, setting := range settings {
		list[setting] = anyPort
		if p := c.find(m); m.ID > 0 && p != nil && p.listens != nil {
			list[setting] = p.listens[i]
		}
	}
	return list
}
