package bench

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"moldau.dev/services/clock"
)

// punctual makes the calling goroutine's naps end on time, within microseconds.
// It keeps its thread to itself until the returned function is called.
func punctual() (release func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it naps end 50 µs late
	return runtime.UnlockOSThread
}

// nap sleeps at most d; a signal may end it early.
func nap(_ clock.Clock, d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}

func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

func (m *Machine) inspect() {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	m.CongestionControl = firstLine("/proc/sys/net/ipv4/tcp_congestion_control")
	m.Processor = processorName()
	m.Load = firstLine("/proc/loadavg")
}
