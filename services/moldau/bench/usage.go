package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what one side used while the window was open.
type Usage struct {
	Processes     int     `json:"processes"`
	CPUSeconds    float64 `json:"cpu_seconds"`
	CPUPerGB      float64 `json:"cpu_seconds_per_gb"`
	ResidentBytes int64   `json:"resident_bytes"` // at the end
}

// spent is what processes have used so far.
type spent struct {
	cpu       float64 // seconds
	resident  int64
	processes int
}

// usage is what both sides used.
type usage struct {
	client  spent
	servers *spent // nil: not reachable
}

// watch takes notes when the meter's window opens and when it closes.
type watch struct {
	r      *run
	cancel context.CancelFunc
	ended  chan struct{}
	before usage
	after  usage
	opened bool
}

func (r *run) watch(ctx context.Context, m *meter) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{r: r, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		if rest(ctx, r.clk, -r.clk.Since(m.from)) != nil {
			return
		}
		w.before, w.opened = r.look(), true
		if m.to.IsZero() {
			<-ctx.Done()
		} else {
			_ = rest(ctx, r.clk, -r.clk.Since(m.to))
		}
		w.after = r.look()
	}()
	return w
}

// stop returns what was used; nothing where the window never opened.
func (w *watch) stop() (used usage) {
	w.cancel()
	<-w.ended
	if !w.opened {
		return usage{}
	}
	used = w.after
	used.client.cpu -= w.before.client.cpu
	if w.before.servers == nil {
		used.servers = nil
	}
	if used.servers != nil {
		used.servers.cpu -= w.before.servers.cpu
	}
	return used
}

func (r *run) look() usage {
	u := usage{client: ownSpent()}
	if len(r.cfg.Admins) == 0 {
		return u
	}
	sum := &spent{}
	for _, addr := range r.cfg.Admins {
		s, err := scrape(addr)
		if err != nil {
			r.report.note("no CPU of the servers: %v", err)
			return u
		}
		sum.cpu, sum.resident, sum.processes = sum.cpu+s.cpu, sum.resident+s.resident, sum.processes+1
	}
	u.servers = sum
	return u
}

func ownSpent() spent {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return spent{}
	}
	seconds := func(t syscall.Timeval) float64 { return time.Duration(t.Nano()).Seconds() }
	return spent{cpu: seconds(ru.Utime) + seconds(ru.Stime), resident: ownResident(), processes: 1}
}

const scrapeTimeout = 5 * time.Second

// scrape asks a process's admin listener what it has used.
func scrape(addr string) (spent, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return spent{}, fmt.Errorf("admin address %q: %w", addr, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return spent{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return spent{}, fmt.Errorf("%s answered %s", addr, resp.Status)
	}
	return parseSpent(resp.Body)
}

// parseSpent reads the two figures out of Prometheus's text.
func parseSpent(text io.Reader) (spent, error) {
	found := map[string]float64{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name != "process_cpu_seconds_total" && name != "process_resident_memory_bytes" {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return spent{}, fmt.Errorf("metric %s: %w", name, err)
		}
		found[name] = v
	}
	if err := lines.Err(); err != nil {
		return spent{}, err
	}
	if len(found) != 2 {
		return spent{}, fmt.Errorf("the process does not tell its CPU and memory")
	}
	return spent{cpu: found["process_cpu_seconds_total"], resident: int64(found["process_resident_memory_bytes"])}, nil
}
