//go:build !linux

package bench

import (
	"os"
	"time"

	"moldau.dev/services/clock"
)

func punctual() (release func()) { return func() {} }

func nap(clk clock.Clock, d time.Duration) { <-clk.NewTimer(d).C() }

func syncData(f *os.File) error { return f.Sync() }

func (*Machine) inspect() {}
