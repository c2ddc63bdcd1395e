package storagenode

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/google/uuid"

	"moldau.dev/storage-node/vfs"
)

// The files of a data directory, beside partitions/.
const (
	lockFile          = "lock"
	identityFile      = "node.json"
	cleanShutdownFile = "clean-shutdown"
)

// identity ties a data directory to one node of one cluster (rule N1).
type identity struct {
	ClusterID string `json:"cluster_id"`
	NodeID    int32  `json:"node_id"`
	NodeEpoch int64  `json:"node_epoch"`
	// BootID of the kernel that last wrote here. Where it is the running one's,
	// what was appended is in the page cache even after a kill (rule N3).
	BootID string `json:"boot_id"`

	// previousEpoch is the node epoch of the process before this one where that is
	// known to be gone, or 0; incarnation names this start. Neither is kept.
	previousEpoch int64
	incarnation   string
	// sameBoot: the kernel has run ever since the process before this one wrote.
	sameBoot bool
}

// takeDataDir locks the data directory, checks whose it is and consumes the
// mark of a clean shutdown: from here on a crash is an unclean one (rule N2).
func (s *Service) takeDataDir() (err error) {
	if err := s.fs.MkdirAll(s.file(partitionsDir)); err != nil {
		return fmt.Errorf("make data directory %s: %w", s.cfg.DataDir, err)
	}
	// Names first: what is found below must not be lost with the next power cut.
	for _, dir := range []string{s.file(partitionsDir), s.cfg.DataDir, path.Dir(s.cfg.DataDir)} {
		if err := s.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("sync directory %s: %w", dir, err)
		}
	}
	if s.lock, err = s.fs.Lock(s.file(lockFile)); err != nil {
		return fmt.Errorf("data directory %s is in use by another storage node, or cannot be locked: %w", s.cfg.DataDir, err)
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
		}
	}()
	if err := s.readIdentity(); err != nil {
		return err
	}
	if err := s.readSeen(); err != nil {
		return err
	}
	if err := s.marks.read(); err != nil {
		return err
	}
	if err := s.consumeCleanShutdown(); err != nil {
		return err
	}
	return s.findPartitions()
}

func (s *Service) file(name string) string { return path.Join(s.cfg.DataDir, name) }

func (s *Service) readIdentity() error {
	s.identity = identity{NodeID: s.cfg.NodeID, incarnation: uuid.NewString()}
	b, err := readFile(s.fs, s.file(identityFile))
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read node identity: %w", err)
	}
	found := s.identity
	if err := json.Unmarshal(b, &found); err != nil {
		return fmt.Errorf("node identity %s is damaged: %w", s.file(identityFile), err)
	}
	if found.NodeID != s.cfg.NodeID {
		return fmt.Errorf("data directory %s belongs to node %d of cluster %s; this is node %d", s.cfg.DataDir, found.NodeID, found.ClusterID, s.cfg.NodeID)
	}
	s.identity = found
	return nil
}

func (s *Service) writeIdentity() error {
	s.identity.BootID = bootID(s.fs)
	b, err := json.Marshal(s.identity)
	if err != nil {
		return fmt.Errorf("encode node identity: %w", err)
	}
	return writeFile(s.fs, s.file(identityFile), b)
}

// bootID is the running kernel's, or empty where it cannot be told.
func bootID(fs vfs.FS) string {
	b, err := readFile(fs, "/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

type cleanShutdown struct {
	NodeEpoch int64 `json:"node_epoch"`
}

func (s *Service) consumeCleanShutdown() error {
	b, err := readFile(s.fs, s.file(cleanShutdownFile))
	s.identity.sameBoot = s.identity.BootID != "" && s.identity.BootID == bootID(s.fs)
	if isNotExist(err) {
		// The process only died, under the same kernel: the lock shows that it is
		// gone, so the controller need not wait out its fence (rules N1, N3a).
		if s.identity.sameBoot {
			s.identity.previousEpoch = s.identity.NodeEpoch
		}
		return nil
	}
	var mark cleanShutdown
	if err == nil && json.Unmarshal(b, &mark) == nil && mark.NodeEpoch == s.identity.NodeEpoch {
		s.identity.previousEpoch = mark.NodeEpoch
	}
	if err := s.fs.Remove(s.file(cleanShutdownFile)); err != nil {
		return fmt.Errorf("remove clean-shutdown file: %w", err)
	}
	return s.fs.SyncDir(s.cfg.DataDir)
}

// writeCleanShutdown is the last write of a controlled stop.
func (s *Service) writeCleanShutdown() error {
	if err := errors.Join(s.writeSeen(), s.marks.write()); err != nil {
		return err
	}
	b, err := json.Marshal(cleanShutdown{NodeEpoch: s.nodeEpoch.Load()})
	if err != nil {
		return fmt.Errorf("encode clean-shutdown file: %w", err)
	}
	return writeFile(s.fs, s.file(cleanShutdownFile), b)
}

// findPartitions notes which partitions have a directory. None is opened, and
// one that metadata does not know is left as it is (rule N9).
func (s *Service) findPartitions() error {
	names, err := s.fs.List(s.file(partitionsDir))
	if err != nil {
		return fmt.Errorf("list partitions: %w", err)
	}
	for _, name := range names {
		id, ok := parsePartitionDir(name)
		if !ok {
			s.log.Warn("directory is no partition's; it is left alone", "name", name)
			continue
		}
		s.noteDir(id)
	}
	return nil
}
