package main

import (
	"context"

	"moldau.dev/services/discovery"
	"moldau.dev/services/lifecycle"
)

// announcement keeps an instance of a role in Consul's catalog while the process
// serves: from when the parts before it have started until they drain. Without
// Consul it is nothing.
func (p *process) announcement(role string, instance func() (discovery.Instance, error), about func() map[string]string) []lifecycle.Part {
	if p.catalog == nil {
		return nil
	}
	var end context.CancelFunc
	var ended chan error
	leave := func(context.Context) error {
		end()
		err := <-ended
		ended <- nil
		return err
	}
	return []lifecycle.Part{{
		Name: role + " announcement",
		Start: func(ctx context.Context) error {
			i, err := instance()
			if err != nil {
				return err
			}
			var announced context.Context
			announced, end = context.WithCancel(context.WithoutCancel(ctx))
			ended = make(chan error, 1)
			go func() { ended <- p.catalog.Announce(announced, role, i, about()) }()
			return nil
		},
		Drain: leave,
		Stop:  leave,
	}}
}

func nothing() map[string]string { return nil }
