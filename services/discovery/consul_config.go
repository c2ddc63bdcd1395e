package discovery

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"
)

// ConsulConfig says which Consul a cluster uses, and what in it is the cluster's.
type ConsulConfig struct {
	// Address of the agent of this machine: host:port, or a URL with http, https
	// or unix. TLS is shaped by Consul's own variables, such as CONSUL_CACERT.
	Address string
	// Token of Consul's access control; empty is none, or CONSUL_HTTP_TOKEN.
	Token string
	// Prefix of all the cluster's keys, which names its services too: the
	// gateways of moldau/ are the service moldau-gateway. It ends with a slash
	// and does not begin with one.
	Prefix string
}

// Client returns a client, or what is wrong with c. It contacts nobody.
func (c ConsulConfig) Client() (*api.Client, error) {
	if c.Address == "" {
		return nil, errors.New("consul: no address")
	}
	if !strings.HasSuffix(c.Prefix, "/") || strings.HasPrefix(c.Prefix, "/") || strings.Contains(c.Prefix, "//") {
		return nil, fmt.Errorf("consul: prefix %q is not like moldau/", c.Prefix)
	}
	shape := api.DefaultConfig()
	shape.Address = c.Address
	if c.Token != "" {
		shape.Token = c.Token
	}
	client, err := api.NewClient(shape)
	if err != nil {
		return nil, fmt.Errorf("consul at %s: %w", c.Address, err)
	}
	return client, nil
}
