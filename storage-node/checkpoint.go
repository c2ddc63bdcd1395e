package storagenode

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/storageclient"
)

const (
	// checkpointFile holds the high watermarks of the node's partitions, a line each,
	// after a line with the CRC-32C of the rest.
	checkpointFile = "high-watermarks"
	// keepInterval is how old after a crash what is written down may be: high
	// watermarks, and how far metadata was followed.
	keepInterval = 5 * time.Second
)

// checkpoint remembers the high watermarks over restarts: a replica that starts
// again shows at once what was known to be committed (as Kafka's
// replication-offset-checkpoint). One that is older than the truth costs nothing
// but that; one that is newer than the log shows that the log has lost records.
type checkpoint struct {
	node *Service

	mu sync.Mutex
	// marks are of the partitions that are not open; of the others they may be old.
	marks map[storageclient.PartitionID]int64
	kept  []byte // what the file holds
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// read takes what the process before wrote. A damaged file is as good as none.
func (c *checkpoint) read() error {
	b, err := readFile(c.node.fs, c.node.file(checkpointFile))
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read high watermarks: %w", err)
	}
	marks, err := parseCheckpoint(b)
	if err != nil {
		c.node.log.Warn("high watermarks are not usable", telemetry.Path(c.node.file(checkpointFile)), telemetry.Err(err))
		return nil
	}
	c.marks, c.kept = marks, b
	return nil
}

func parseCheckpoint(b []byte) (map[storageclient.PartitionID]int64, error) {
	sum, rest, _ := bytes.Cut(b, []byte("\n"))
	if string(sum) != checkSum(rest) {
		return nil, fmt.Errorf("checksum %q is wrong", sum)
	}
	marks := map[storageclient.PartitionID]int64{}
	for line := range strings.Lines(string(rest)) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		id, ok := parsePartitionDir(name)
		hw, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("line %q names no partition and offset", line)
		}
		marks[id] = hw
	}
	return marks, nil
}

func checkSum(b []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)) }

// of returns the high watermark that a partition is known to have had, 0 where
// nothing is known.
func (c *checkpoint) of(id storageclient.PartitionID) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marks[id]
}

// write writes down what is true now, where that is new.
func (c *checkpoint) write() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.node.snapshot() {
		if p.log.Load() != nil {
			c.marks[p.id] = p.highWatermark.Load()
		}
	}
	maps.DeleteFunc(c.marks, func(id storageclient.PartitionID, _ int64) bool { return !c.node.hasDir(id) })
	return c.store()
}

// lower makes sure that after a crash a partition's high watermark is not above
// an offset that its log is about to be cut at, to be written anew.
func (c *checkpoint) lower(id storageclient.PartitionID, to int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.marks[id] <= to {
		return nil
	}
	c.marks[id] = to
	return c.store()
}

func (c *checkpoint) store() error {
	byName := map[string]int64{}
	for id, hw := range c.marks {
		byName[path.Base(c.node.partitionDir(id))] = hw
	}
	var lines []byte
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		lines = fmt.Appendf(lines, "%s %d\n", name, byName[name])
	}
	b := append([]byte(checkSum(lines)+"\n"), lines...)
	if bytes.Equal(b, c.kept) {
		return nil
	}
	if err := writeFile(c.node.fs, c.node.file(checkpointFile), b); err != nil {
		return err
	}
	c.kept = b
	return nil
}

// keep writes down what the next process is to know, and deletes what was moved
// away, until ctx ends.
func (s *Service) keep(ctx context.Context) {
	for s.pause(ctx, keepInterval) {
		s.releaseOnce()
		if err := s.writeSeen(); err != nil {
			s.log.Warn("cannot write down how far metadata was followed", telemetry.Err(err))
		}
		if err := s.marks.write(); err != nil {
			s.log.Warn("cannot write down high watermarks", telemetry.Err(err))
		}
	}
}
