package main

import (
	"context"
	"errors"

	"moldau.dev/services/lifecycle"
)

// buildGateway refuses to start: this version has no gateway to build.
func buildGateway(*process) []lifecycle.Part {
	return []lifecycle.Part{{
		Name:  "gateway",
		Start: func(context.Context) error { return errors.New("this build has no gateway") },
	}}
}
