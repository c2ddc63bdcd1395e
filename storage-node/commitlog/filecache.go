package commitlog

import (
	"container/list"
	"sync"

	"moldau.dev/storage-node/vfs"
)

// FileCache holds the open files of all logs of a node, the least recently
// used going first, so that thousands of partitions need no descriptor each.
type FileCache struct {
	max int

	mu    sync.Mutex
	files map[string]*list.Element
	order *list.List // of *openFile, last used in front
}

type openFile struct {
	name string
	f    vfs.File
	uses int
	gone bool // close at the last release
}

// NewFileCache holds at most max files open beside those in use.
func NewFileCache(max int) *FileCache {
	return &FileCache{max: max, files: map[string]*list.Element{}, order: list.New()}
}

// open returns the file and what ends its use.
func (c *FileCache) open(fs vfs.FS, name string) (vfs.File, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.files[name]
	if !ok {
		f, err := fs.Open(name)
		if err != nil {
			return nil, nil, err
		}
		e = c.order.PushFront(&openFile{name: name, f: f})
		c.files[name] = e
		c.evict()
	}
	c.order.MoveToFront(e)
	o := e.Value.(*openFile)
	o.uses++
	return o.f, func() { c.release(o) }, nil
}

func (c *FileCache) release(o *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.uses--; o.uses == 0 && o.gone {
		_ = o.f.Close() // its bytes were synced or are not wanted
	}
}

func (c *FileCache) evict() {
	for e := c.order.Back(); e != nil && c.order.Len() > c.max; {
		prev := e.Prev()
		if o := e.Value.(*openFile); o.uses == 0 {
			c.drop(e)
		}
		e = prev
	}
}

func (c *FileCache) drop(e *list.Element) {
	o := e.Value.(*openFile)
	c.order.Remove(e)
	delete(c.files, o.name)
	if o.gone = true; o.uses == 0 {
		_ = o.f.Close()
	}
}

// forget closes the file once nobody uses it.
func (c *FileCache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.files[name]; ok {
		c.drop(e)
	}
}
