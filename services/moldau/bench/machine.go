package bench

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is where the figures come from.
type Machine struct {
	Processor         string `json:"processor,omitempty"`
	Processors        int    `json:"processors"`
	Kernel            string `json:"kernel,omitempty"`
	CongestionControl string `json:"congestion_control,omitempty"`
	Load              string `json:"load_before,omitempty"` // as in /proc/loadavg
	Go                string `json:"go"`
}

func thisMachine() Machine {
	m := Machine{Processors: runtime.NumCPU(), Go: runtime.Version()}
	m.inspect()
	return m
}

func firstLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func processorName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ownResident returns the memory of this process, or 0 where that is unknown.
func ownResident() int64 {
	fields := strings.Fields(firstLine("/proc/self/statm"))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
