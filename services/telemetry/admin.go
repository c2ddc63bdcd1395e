package telemetry

import (
	"io"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin is what the admin listener shows. That listener belongs on loopback:
// profiles and configs are not for strangers.
type Admin struct {
	Metrics prometheus.Gatherer
	Ready   func() bool           // whether the process should get traffic
	Config  func(io.Writer) error // writes the effective config as YAML, secrets redacted
}

// Handler serves /metrics, /healthz, /readyz, /config and /debug/pprof/.
func (a Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /config", a.config)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func (a Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if a.Ready() {
		say(w, http.StatusOK, "ready\n")
		return
	}
	say(w, http.StatusServiceUnavailable, "not ready\n")
}

func (a Admin) config(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	if err := a.Config(w); err != nil {
		http.Error(w, "the config cannot be printed", http.StatusInternalServerError)
	}
}

// say answers; a caller that has left is no concern of ours.
func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}
