package testcluster

import (
	"strconv"
	"testing"
)

// This file is all that knows how the binary is told its settings, and how it
// says that it serves.

// anyPort leaves the choice to the process, which says what it chose.
const anyPort = "127.0.0.1:0"

// launch starts one process of the cluster.
func (c *Cluster) launch(t testing.TB, role string) *Process {
	t.Helper()
	env := []string{
		"MOLDAU_DATA_DIR=" + c.dataDir,
		"MOLDAU_ADMIN_LISTEN=" + anyPort,
		"MOLDAU_METADATA_LISTEN=" + anyPort,
		"MOLDAU_STORAGE_NODE_LISTEN=" + anyPort,
		"MOLDAU_GATEWAY_GRPC_LISTEN=" + anyPort,
		"MOLDAU_GATEWAY_HTTP_LISTEN=" + anyPort,
		"MOLDAU_GATEWAY_KAFKA_LISTEN=" + anyPort,
		"MOLDAU_GATEWAY_AUTO_CREATE_TOPICS=false",
	}
	if c.metadataAddr != "" {
		env = append(env, "MOLDAU_METADATA_TARGET="+c.metadataAddr)
	}
	if c.origin != "" {
		env = append(env, "MOLDAU_GATEWAY_ALLOWED_ORIGINS="+c.origin)
	}
	args := []string{role}
	if c.nodes > 0 {
		args = append(args, "--nodes", strconv.Itoa(c.nodes))
	}
	return StartProcess(t, role, env, args...)
}

// clientEnv tells the command line where the cluster is.
func (c *Cluster) clientEnv() []string { return []string{"MOLDAU_ADDR=" + c.grpcAddr} }

// What a process writes once it serves; the groups are addresses.
var saysReady = map[string]string{
	"up":           `(?s)moldau is up;.*gRPC +(\S+)\n +HTTP +http://(\S+).*Kafka +(\S+)\n.*Try, `,
	"metadata":     `(?s)msg="metadata listens" addr=(\S+).*state=READY`,
	"storage-node": `state=READY`,
	"gateway":      `(?s)msg="gateway listens" grpc_addr=(\S+) http_addr=(\S+) kafka_addr=(\S+).*state=READY`,
}

// waitReady waits until p serves, notes where, and reports false if it has
// ended instead.
func (c *Cluster) waitReady(t testing.TB, p *Process) bool {
	t.Helper()
	said := p.SawLog(t, saysReady[p.Name])
	switch {
	case said == nil:
		return false
	case p.Name == "metadata":
		c.metadataAddr = said[1]
	case p.Name != "storage-node":
		c.grpcAddr, c.httpAddr, c.kafkaAddr = said[1], said[2], said[3]
	}
	return true
}
