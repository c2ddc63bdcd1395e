package kafka

import (
	"time"

	"moldau.dev/gateway/quota"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
)

// anonymous is the user of every client, as Kafka names one that did not log
// in.
const anonymous = "ANONYMOUS"

// quotaRules are the quotas as of some settings.
type quotaRules struct {
	settings *metadataclient.Settings
	rules    *quota.Rules
}

// quotas returns those of the present view.
func (s *Server) quotas() *quota.Rules {
	settings := s.meta.View().Settings
	if q := s.ruled.Load(); q != nil && q.settings == settings {
		return q.rules
	}
	q := &quotaRules{settings: settings}
	if settings == nil {
		q.rules = quota.Parse(nil)
	} else {
		q.rules = quota.Parse(settings.Configs)
	}
	s.ruled.Store(q)
	return q.rules
}

// use counts what the client used under a quota; it is kept waiting for it
// after the answer (KIP-219).
func (c *conn) use(key string, n int) {
	wait := c.s.book.Use(c.s.quotas(), c.s.clk.Now(), key, anonymous, c.client, float64(n))
	c.throttle = max(c.throttle, wait)
}

// mutate counts partitions that the client is about to create or delete. From
// the version on that knows of it, what is beyond the quota is refused; before,
// the client is kept waiting (KIP-599).
func (c *conn) mutate(partitions int, refuses bool) error {
	if !refuses {
		c.use(quota.Mutations, partitions)
		return nil
	}
	wait, taken := c.s.book.Take(c.s.quotas(), c.s.clk.Now(), quota.Mutations, anonymous, c.client, float64(partitions))
	if taken {
		return nil
	}
	c.throttle = max(c.throttle, wait)
	return errcode.New(errcode.ResourceExhausted, "The throttling quota has been exceeded.")
}

// throttleMillis is what the client is told of how long it must wait.
func (c *conn) throttleMillis() int32 {
	return int32(min(c.throttle.Milliseconds(), 1<<31-1))
}

// mute keeps the client waiting: what it sends meanwhile is not read.
func (c *conn) mute() {
	if c.throttle <= 0 {
		return
	}
	c.busy.Add(-1)
	defer c.busy.Add(1)
	c.s.metrics.throttled.Add(c.throttle.Seconds())
	c.s.sleep(min(c.throttle, maxThrottle))
	c.throttle = 0
}

// maxThrottle bounds how long a client waits for one request.
const maxThrottle = time.Hour
