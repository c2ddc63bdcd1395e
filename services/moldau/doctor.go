package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"moldau.dev/services/clock"
	"moldau.dev/services/config"
)

const (
	lowDiskBytes  = 1 << 30
	lowOpenFiles  = 4096
	slowSync      = 20 * time.Millisecond
	syncProbes    = 20
	syncProbeSize = 4 << 10
)

// finding is one line of doctor: what was looked at, and why it is bad if it
// is.
type finding struct {
	about, found, bad string
}

// doctorCommand looks at this machine before a process starts on it.
func (c *cli) doctorCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine: ports, disk, fsync, limits",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.settings(defaultSettings(), dataFlag(data))
			if err != nil {
				return err
			}
			var sick int
			for _, f := range examine(s) {
				mark := "ok  "
				if f.bad != "" {
					mark, sick = "BAD ", sick+1
					f.found += ": " + f.bad
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %-20s %s\n", mark, f.about, f.found)
			}
			if sick > 0 {
				return precondition("see the lines marked BAD", "%d checks failed", sick)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder for all data (default data)")
	return cmd
}

func examine(s Settings) []finding {
	var all []finding
	for _, p := range []struct{ key, addr string }{
		{"gateway.grpc_listen", s.Gateway.GRPCListen}, {"gateway.http_listen", s.Gateway.HTTPListen},
		{"gateway.kafka_listen", s.Gateway.KafkaListen}, {"admin_listen", s.AdminListen},
	} {
		all = append(all, checkPort(p.key, p.addr))
	}
	return append(all, checkDisk(s.DataDir), checkSync(s.DataDir), checkOpenFiles(), checkCongestion(),
		finding{about: "processors", found: fmt.Sprint(runtime.GOMAXPROCS(0))})
}

func checkPort(key, addr string) finding {
	f := finding{about: key, found: addr}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		f.bad = "taken, maybe by a running moldau; another can be set with " + config.EnvName(key)
		return f
	}
	if err != nil {
		f.bad = err.Error()
		return f
	}
	_ = l.Close()
	return f
}

// standing returns the nearest folder on the way to dir that exists, which
// has the file system that dir will be on.
func standing(dir string) string {
	dir, err := filepath.Abs(dir)
	for err == nil {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

func checkDisk(dir string) finding {
	f := finding{about: "disk space", found: dir}
	var st syscall.Statfs_t
	if err := syscall.Statfs(standing(dir), &st); err != nil {
		f.bad = err.Error()
		return f
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	f.found = fmt.Sprintf("%d MiB free for %s", free>>20, dir)
	if free < lowDiskBytes {
		f.bad = "less than 1 GiB"
	}
	return f
}

func checkSync(dir string) finding {
	f := finding{about: "fsync", found: dir}
	slowest, median, err := timeSyncs(standing(dir))
	if err != nil {
		f.bad = err.Error()
		return f
	}
	f.found = fmt.Sprintf("median %s, slowest %s of %d", median.Round(time.Microsecond), slowest.Round(time.Microsecond), syncProbes)
	if median > slowSync {
		f.bad = "slow disk: every durable produce waits for it"
	}
	return f
}

func timeSyncs(dir string) (slowest, median time.Duration, err error) {
	file, err := os.CreateTemp(dir, ".moldau-doctor-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	clk, took := clock.Real(), make([]time.Duration, 0, syncProbes)
	for range syncProbes {
		begin := clk.Now()
		if _, err := file.Write(make([]byte, syncProbeSize)); err != nil {
			return 0, 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, 0, err
		}
		took = append(took, clk.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)-1], took[len(took)/2], nil
}

func checkOpenFiles() finding {
	f := finding{about: "open files"}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		f.bad = err.Error()
		return f
	}
	f.found = fmt.Sprintf("limit %d", limit.Cur)
	if limit.Cur < lowOpenFiles {
		f.bad = "raise it to 4096 or more (ulimit -n)"
	}
	return f
}

// checkCongestion tells which algorithm TCP uses: bbr halves what loopback
// carries.
func checkCongestion() finding {
	f := finding{about: "congestion control", found: "unknown"}
	if text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control"); err == nil {
		f.found = strings.TrimSpace(string(text))
	}
	return f
}
