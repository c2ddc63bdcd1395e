package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"moldau.dev/services/clock"
)

// progress tells on stderr how far long work is: one line that changes on a
// terminal, a line for each change elsewhere.
type progress struct {
	w       io.Writer
	clk     clock.Clock
	what    string
	total   int64
	began   time.Time
	told    int64
	rewrite bool
}

func newProgress(w io.Writer, clk clock.Clock, what string, total int64) *progress {
	return &progress{w: w, clk: clk, what: what, total: total, began: clk.Now(), told: -1, rewrite: isTerminal(w)}
}

// left tells how many are still to come.
func (p *progress) left(n int64) {
	if n == p.told && !p.rewrite {
		return
	}
	p.told, p.total = n, max(p.total, n)
	line := fmt.Sprintf("%d of %d %s moved", p.total-n, p.total, p.what)
	if took, moved := p.clk.Now().Sub(p.began), p.total-n; moved > 0 && took > 0 {
		eta := time.Duration(float64(took) / float64(moved) * float64(n)).Round(time.Second)
		line += fmt.Sprintf(", %.1f/s, %s to go", float64(moved)/took.Seconds(), eta)
	}
	if p.rewrite {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

// done leaves the line as it is.
func (p *progress) done() {
	if p.rewrite && p.told >= 0 {
		fmt.Fprintln(p.w)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, clk clock.Clock, d time.Duration) error {
	timer := clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
