package storagenode

import (
	"path"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/vfs"
)

const (
	// quarantineDir holds what replaced replicas left, each in a directory
	// <partition's>.<n>. Nothing of it is read or removed by the node.
	quarantineDir = "quarantine"
	// whyFile says, for people, why a replica is there.
	whyFile = "why"
)

// quarantine moves the partition's files away and begins with an empty log, which
// follows. It returns where they are now. The controller must have said that
// nobody counts on what they hold. After a crash in the middle what is left is
// less than the checkpoint, moved last, tells of, and so is damaged, too.
func (p *partition) quarantine(fault *errcode.Error) (string, error) {
	p.care.Lock()
	defer p.care.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return "", errGone
	}
	p.replica.mu.Lock()
	p.resign()
	p.replica.became.Store(nil)
	p.replica.mu.Unlock()
	if l := p.log.Load(); l != nil {
		_ = l.Abandon() // it has failed already
	}
	if err := p.node.marks.lower(p.id, 0); err != nil {
		return "", err
	}
	to, err := p.moveAway(fault)
	if err != nil {
		return "", err
	}
	p.node.forgetDir(p.id) // its directory is as good as new
	l, err := p.recover()
	if err != nil {
		return "", err
	}
	p.largest.Store(0)
	p.log.Store(l)
	p.fault.CompareAndSwap(fault, nil)
	p.become(l)
	p.waiting.wakeAll()
	return to, nil
}

// moveAway moves all files of the partition's directory to quarantine, durably.
func (p *partition) moveAway(fault *errcode.Error) (string, error) {
	fs := p.node.fs
	to, err := p.node.newQuarantine(path.Base(p.dir))
	if err != nil {
		return "", err
	}
	if err := writePlain(fs, path.Join(to, whyFile), []byte(fault.Error()+"\n")); err != nil {
		return "", err
	}
	names, err := fs.List(p.dir)
	if isNotExist(err) {
		return to, nil
	}
	if err != nil {
		return "", err
	}
	for _, name := range names { // segments come before the checkpoints that name them
		if err := fs.Rename(path.Join(p.dir, name), path.Join(to, name)); err != nil {
			return "", err
		}
	}
	for _, dir := range []string{to, path.Dir(to), p.node.cfg.DataDir, p.dir} {
		if err := fs.SyncDir(dir); err != nil {
			return "", err
		}
	}
	return to, nil
}

// newQuarantine makes a directory for what a partition's held.
func (s *Service) newQuarantine(name string) (string, error) {
	for n := int32(0); ; n++ {
		dir := path.Join(s.cfg.DataDir, quarantineDir, name+"."+itoa(n))
		if _, err := vfs.ReadFile(s.fs, path.Join(dir, whyFile)); !isNotExist(err) {
			continue
		}
		return dir, s.fs.MkdirAll(dir)
	}
}
