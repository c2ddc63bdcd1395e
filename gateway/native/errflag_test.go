package native_test

import "sync"

// errFlag is an error that tests set while others look.
type errFlag struct {
	mu  sync.Mutex
	err error
}

func (f *errFlag) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *errFlag) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
