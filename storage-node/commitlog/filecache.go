package commitlog

import (
	"sync"

	"moldau.dev/storage-node/vfs"
)

// FileCache holds the open segment files of all logs of a node, the least
// recently used being closed first, so that thousands of partitions need no
// descriptor each. Files with bytes that are not fsynced stay open, lest the
// kernel forget a failed write-back with the last descriptor.
type FileCache struct {
	mu   sync.Mutex
	max  int
	open int
	lru  handle // sentinel of a ring; next is the last used
}

// handle is an open segment file. All fields are guarded by FileCache.mu.
type handle struct {
	file       vfs.File
	owner      *segment // nil once dropped: the last release closes the file
	refs       int
	prev, next *handle
}

// NewFileCache returns a cache that holds at most maxOpen files open beside
// those in use.
func NewFileCache(maxOpen int) *FileCache {
	c := &FileCache{max: maxOpen}
	c.lru.prev, c.lru.next = &c.lru, &c.lru
	return c
}

// Open is the number of files open.
func (c *FileCache) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// acquire returns the open file of s until release.
func (c *FileCache) acquire(fs vfs.FS, s *segment) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := s.file; h != nil {
		c.use(h)
		return h, nil
	}
	c.mu.Unlock()
	f, err := fs.Open(s.log)
	c.mu.Lock()
	if err != nil {
		return nil, err
	}
	if h := s.file; h != nil { // another was faster
		_ = f.Close()
		c.use(h)
		return h, nil
	}
	return c.add(s, f), nil
}

// insert is acquire for a file that the caller has just made.
func (c *FileCache) insert(s *segment, f vfs.File) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(s, f)
}

func (c *FileCache) add(s *segment, f vfs.File) *handle {
	h := &handle{file: f, owner: s, refs: 1}
	s.file = h
	c.open++
	c.push(h)
	for old := c.lru.prev; c.open > c.max && old != &c.lru; {
		prev := old.prev
		if old.refs == 0 {
			c.discard(old)
		}
		old = prev
	}
	return h
}

func (c *FileCache) use(h *handle) {
	h.refs++
	h.prev.next, h.next.prev = h.next, h.prev
	c.push(h)
}

func (c *FileCache) push(h *handle) {
	h.prev, h.next = &c.lru, c.lru.next
	h.prev.next, h.next.prev = h, h
}

// retain takes one more hold of a handle that is held.
func (c *FileCache) retain(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.refs++
}

func (c *FileCache) release(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.refs--
	if h.refs == 0 && h.owner == nil {
		c.close(h)
	}
}

// drop forgets the file of s; it is closed once nobody holds it.
func (c *FileCache) drop(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.file != nil {
		c.discard(s.file)
	}
}

func (c *FileCache) discard(h *handle) {
	h.owner.file, h.owner = nil, nil
	h.prev.next, h.next.prev = h.next, h.prev
	if h.refs == 0 {
		c.close(h)
	}
}

func (c *FileCache) close(h *handle) {
	c.open--
	_ = h.file.Close() // what was to be durable was fsynced
}
