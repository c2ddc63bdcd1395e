package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"moldau.dev/services/clock"
)

const (
	lowDiskBytes   = 1 << 30
	lowMemoryBytes = 128 << 20
	lowOpenFiles   = 4096
	slowSync       = 20 * time.Millisecond
	syncProbes     = 20
	syncProbeSize  = 4 << 10
)

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

// fileSystems are those worth a name, by the number that statfs tells, and what
// is wrong with keeping data on them.
var fileSystems = map[int64]struct{ name, note string }{
	0xef53:     {name: "ext4"},
	0x58465342: {name: "xfs"},
	0x9123683e: {name: "btrfs"},
	0x2fc12fc1: {name: "zfs"},
	0x01021994: {"tmpfs", "it is memory: nothing survives a restart of the machine"},
	0x794c7630: {"overlay", "it goes with the container; mount a volume"},
	0x6969:     {"nfs", "locks and fsync hold only as far as the server keeps them"},
}

func checkDisk(dir string) finding {
	f := finding{about: "disk", found: dir}
	var st syscall.Statfs_t
	if err := syscall.Statfs(standing(dir), &st); err != nil {
		f.bad = err.Error()
		return f
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	kind := fileSystems[int64(st.Type)]
	f.found = fmt.Sprintf("%d MiB free on %s for %s", free>>20, cmp.Or(kind.name, "another file system"), dir)
	f.note = kind.note
	if free < lowDiskBytes {
		f.bad = "less than 1 GiB"
	}
	return f
}

func checkSync(dir string) finding {
	f := finding{about: "fsync", found: dir}
	slowest, median, err := timeSyncs(standing(dir))
	if err != nil {
		f.bad = "cannot write there: " + err.Error()
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
