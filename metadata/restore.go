package metadata

import (
	"context"
	"errors"
	"log/slog"

	"moldau.dev/metadata/controller"
	"moldau.dev/services/clock"
)

// AcceptRestore opens the store that cfg names and accepts what it holds, though
// later states were seen: what came after is lost (C11). It returns the new
// generation. An embedded store must not be in use.
func AcceptRestore(ctx context.Context, cfg Config, clk clock.Clock, log *slog.Logger) (generation int64, err error) {
	st, err := openStore(cfg, clk)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	shape := cfg.controller()
	shape.Address = "" // nobody shall ping it
	return controller.AcceptRestore(ctx, shape, clk, log, st)
}
