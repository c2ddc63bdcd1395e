package testcluster

import (
	"net"
	"testing"
)

// This file is all that knows how the binary is told its settings, and how it
// says that it serves.

const anyPort = "127.0.0.1:0"

// addresses are the listeners of one cluster.
type addresses struct{ grpc, http, metadata, storageNode string }

// anyAddresses leaves the choice to the process, which says what it chose.
func anyAddresses() addresses { return addresses{anyPort, anyPort, anyPort, anyPort} }

// freeAddresses are ports that were free a moment ago, for processes that must
// be told of each other before they start.
func freeAddresses(t testing.TB) addresses {
	t.Helper()
	var a addresses
	for _, addr := range []*string{&a.grpc, &a.http, &a.metadata, &a.storageNode} {
		l, err := net.Listen("tcp", anyPort)
		if err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		defer l.Close() // all are held until all are known, so none comes twice
		*addr = l.Addr().String()
	}
	return a
}

// launch starts one process of the cluster.
func (c *Cluster) launch(t testing.TB, role string) *Process {
	t.Helper()
	env := []string{
		"MOLDAU_DATA_DIR=" + c.dataDir,
		"MOLDAU_ADMIN_LISTEN=" + anyPort,
		"MOLDAU_METADATA_LISTEN=" + c.listen.metadata,
		"MOLDAU_METADATA_TARGET=" + c.listen.metadata,
		"MOLDAU_STORAGE_NODE_LISTEN=" + c.listen.storageNode,
		"MOLDAU_GATEWAY_GRPC_LISTEN=" + c.listen.grpc,
		"MOLDAU_GATEWAY_HTTP_LISTEN=" + c.listen.http,
		"MOLDAU_GATEWAY_AUTO_CREATE_TOPICS=false",
	}
	if c.origin != "" {
		env = append(env, "MOLDAU_GATEWAY_ALLOWED_ORIGINS="+c.origin)
	}
	return StartProcess(t, role, env, role)
}

// clientEnv tells the command line where the cluster is.
func (c *Cluster) clientEnv() []string { return []string{"MOLDAU_ADDR=" + c.grpcAddr} }

const (
	upSaysReady   = `(?s)moldau is up;.*gRPC +(\S+)\n +HTTP +http://(\S+).*Try, `
	roleSaysReady = `msg=lifecycle state=READY`
)

// waitReady waits until p serves, notes its doors, and reports false if it has
// ended instead.
func (c *Cluster) waitReady(t testing.TB, p *Process) bool {
	t.Helper()
	if c.split {
		c.grpcAddr, c.httpAddr = c.listen.grpc, c.listen.http
		return p.SawLog(t, roleSaysReady) != nil
	}
	doors := p.SawLog(t, upSaysReady)
	if doors == nil {
		return false
	}
	c.grpcAddr, c.httpAddr = doors[1], doors[2]
	return true
}
