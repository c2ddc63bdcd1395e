package discovery

import (
	"context"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	checkInterval = 2 * time.Second
	checkTimeout  = time.Second
	forgetAfter   = 10 * time.Minute // after which Consul drops an instance that ended without a word
	renewInterval = 5 * time.Second  // an agent that was started anew may have forgotten
)

// Announce puts an instance into the catalog and keeps it there until ctx ends,
// then takes it out and returns. An agent that cannot be reached is asked again;
// nothing else depends on it. Extra tells more about the instance, to people and
// to load balancers.
func (c *Consul) Announce(ctx context.Context, role string, i Instance, extra map[string]string) error {
	r, err := c.registration(role, i, extra)
	if err != nil {
		return err
	}
	told := false
	for ctx.Err() == nil {
		pause := renewInterval
		if err := c.register(ctx, r); err != nil && ctx.Err() == nil {
			c.log.Warn("cannot announce an instance", "role", role, "instance", i.ID, "error", err)
			pause = retryPause
		} else if !told {
			told = true
			c.log.Info("announced", "service", r.Name, "instance", i.ID, "addr", i.Addr)
		}
		c.sleep(ctx, pause)
	}
	return c.deregister(context.WithoutCancel(ctx), r.ID)
}

func (c *Consul) register(ctx context.Context, r *api.AgentServiceRegistration) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	return c.client.Agent().ServiceRegisterOpts(r, api.ServiceRegisterOpts{}.WithContext(ctx))
}

func (c *Consul) deregister(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	return c.client.Agent().ServiceDeregisterOpts(id, new(api.QueryOptions).WithContext(ctx))
}
