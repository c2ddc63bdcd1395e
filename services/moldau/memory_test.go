package main

import (
	"testing"
	"testing/fstest"
)

func TestTheLowestLimitOfTheControlGroupsHolds(t *testing.T) {
	const v2, v1 = "0::/a.slice/b.service\n", "12:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"own":         {map[string]string{"proc/self/cgroup": v2, "sys/fs/cgroup/a.slice/b.service/memory.max": "1000\n"}, 1000},
		"a parent's":  {map[string]string{"proc/self/cgroup": v2, "sys/fs/cgroup/a.slice/b.service/memory.max": "1000\n", "sys/fs/cgroup/a.slice/memory.max": "900\n"}, 900},
		"none":        {map[string]string{"proc/self/cgroup": v2, "sys/fs/cgroup/a.slice/b.service/memory.max": "max\n"}, 0},
		"a container": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "700\n"}, 700},
		"version 1":   {map[string]string{"proc/self/cgroup": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "500\n"}, 500},
		"v1, none":    {map[string]string{"proc/self/cgroup": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"no cgroups":  {map[string]string{}, 0},
		"other words": {map[string]string{"proc/self/cgroup": "0\n\nx", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		got, ok := memoryLimit(root)
		if !ok {
			got = 0
		}
		if got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %d, %v, want %d", name, got, ok, c.want)
		}
	}
}
