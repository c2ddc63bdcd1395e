package bench

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// rawFile is a file that is written from its start to its size, and then from
// its start again, through the page cache.
type rawFile struct {
	f      *os.File
	at     int64
	buffer []byte
}

func newRawFile(dir string) (*rawFile, error) {
	f, err := os.CreateTemp(dir, "moldau-bench-")
	if err != nil {
		return nil, fmt.Errorf("a file for the ceilings: %w", err)
	}
	r := &rawFile{f: f, buffer: newPayload(time.Time{}, largeWrite).value}
	write := r.writer(largeWrite, false)
	for range fileBytes / largeWrite {
		if _, err := write(); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

// writer returns a step that writes size bytes, on disk where it is to sync.
// A new round begins with an empty file, as a log's segment does.
func (r *rawFile) writer(size int, sync bool) func() (int, error) {
	return func() (int, error) {
		if r.at+int64(size) > fileBytes {
			if err := r.f.Truncate(0); err != nil {
				return 0, err
			}
			r.at = 0
		}
		n, err := r.f.WriteAt(r.buffer[:size], r.at)
		r.at += int64(n)
		if err == nil && sync {
			err = syncData(r.f)
		}
		return n, err
	}
}

// reader returns a step that reads 1 MiB of a file that is whole.
func (r *rawFile) reader() func() (int, error) {
	var at int64
	buffer := make([]byte, largeWrite)
	return func() (int, error) {
		if at+largeWrite > fileBytes {
			at = 0
		}
		n, err := r.f.ReadAt(buffer, at)
		at += int64(n)
		return n, err
	}
}

func (r *rawFile) close() error { return errors.Join(r.f.Close(), os.Remove(r.f.Name())) }
