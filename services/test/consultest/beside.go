package consultest

import "moldau.dev/services/test/testcluster"

// Beside makes a cluster keep its metadata in Consul and find it there. Each
// member asks one of the servers, as one with an agent on its own machine does.
func Beside(servers []*Agent) testcluster.Option {
	return testcluster.WithMemberEnv(func(m testcluster.Member) []string {
		return []string{
			"MOLDAU_METADATA_STORE=consul", "MOLDAU_METADATA_TARGET=moldau:///metadata",
			"MOLDAU_CONSUL_ADDRESS=" + servers[m.ID%len(servers)].Addr(),
		}
	})
}
