package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"moldau.dev/services/telemetry"
)

const (
	// gcPercent lets the heap grow to five times what lives before a collection.
	// Little lives here, batches come and go in pooled buffers: it costs tens of
	// MiB under load and saves a quarter of the CPU of a produce.
	gcPercent = 400
	// limitPercent of what the control group allows is Go's; the rest is for
	// what Go does not count.
	limitPercent = 80
)

// tuneMemory sets the collector up, except for what GOGC or GOMEMLIMIT say.
func tuneMemory(log *slog.Logger) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); set {
		return
	}
	if limit, ok := memoryLimit(os.DirFS("/")); ok {
		debug.SetMemoryLimit(limit / 100 * limitPercent)
		log.Info("memory is limited by the control group", telemetry.SizeBytes(limit), "go_percent", limitPercent)
	}
}

// memoryLimit returns how many bytes the control groups of this process allow
// it, and whether any of them sets a limit: version 2's groups up to the root,
// else version 1's memory controller.
func memoryLimit(root fs.FS) (bytes int64, ok bool) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	bytes = math.MaxInt64
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch {
		case controllers == "":
			bytes = min(bytes, leastLimit(root, "sys/fs/cgroup", group, "memory.max"))
		case controllers == "memory":
			bytes = min(bytes, leastLimit(root, "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
		}
	}
	return bytes, bytes < unlimited
}

// unlimited is less than what version 1 says where there is no limit, and more
// than any machine has.
const unlimited = 1 << 60

func leastLimit(root fs.FS, mount, group, file string) int64 {
	least := int64(math.MaxInt64)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		text, err := fs.ReadFile(root, path.Join(mount, dir, file))
		if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
			least = min(least, n)
		}
		if dir == "/" {
			return least
		}
	}
}

// checkMemory tells what doctor finds.
func checkMemory() finding {
	f := finding{about: "memory", found: "no limit of a control group"}
	if limit, ok := memoryLimit(os.DirFS("/")); ok {
		f.found = fmt.Sprintf("the control group allows %d MiB", limit>>20)
		if limit < lowMemoryBytes {
			f.bad = "less than 128 MiB"
		}
	}
	if text, set := os.LookupEnv("GOMEMLIMIT"); set {
		f.found += ", GOMEMLIMIT is " + text
	}
	return f
}
