package main

import "testing"

func TestMemoryLimitLeavesAFifthOfTheContainerToThePageCache(t *testing.T) {
	for cgroup, want := range map[string]int64{
		"1073741820\n": 858993456,
		"max\n":        0,
		"":             0,
		"-1":           0,
		"what":         0,
	} {
		if got := memoryLimit(cgroup); got != want {
			t.Errorf("memoryLimit(%q) = %d, want %d", cgroup, got, want)
		}
	}
}
