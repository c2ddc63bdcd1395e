// Package telemetry is how a process tells what it does: logs (slog), metrics
// (Prometheus), traces (OpenTelemetry) and the admin HTTP handler that shows
// them. services/moldau sets it up once; parts take a *slog.Logger, a
// prometheus.Registerer and a trace.TracerProvider and know no more.
//
// Invariant: OTLP is imported here only, and each log key is named once, in
// attrs.go.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// LogConfig shapes the log.
type LogConfig struct {
	Format string     `koanf:"format"` // "text" or "json"
	Level  slog.Level `koanf:"level"`  // debug, info, warn, error
}

// DefaultLog returns text at info.
func DefaultLog() LogConfig { return LogConfig{Format: "text", Level: slog.LevelInfo} }

// Validate checks the format.
func (c LogConfig) Validate() error {
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("format: %q is neither text nor json", c.Format)
	}
	return nil
}

// NewLogger returns a logger that writes to w, and the level to change while
// it runs.
func NewLogger(w io.Writer, c LogConfig) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Level)
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), level
	}
	return slog.New(slog.NewTextHandler(w, opts)), level
}
