package simulator

import (
	"errors"
	"time"
)

// consul is the store of the controllers' truth. Its lock is advisory and its
// sessions live for one to two times their TTL; every write is a transaction
// that checks session and controller epoch (C3). Its leader may be lost: what is
// asked meanwhile is served or not, and nobody is told.
type consul struct {
	w    *World
	proc *process

	sessions map[int64]time.Duration // when each expires
	next     int64                   // id of the next session
	holder   int64                   // session that holds the lock; 0: none
	epoch    int64                   // ctl/epoch
	writer   int64                   // session that wrote it
	value    *image
	op       uint64 // that wrote value
	index    int64  // of value
	leader   bool   // there is one
}

const sessionTTL = 10 * time.Second

var (
	errCheck   = errors.New("a check failed")
	errUnknown = errors.New("outcome unknown")
)

// answer of consul: the state as it is after the operation.
type answer struct {
	session, epoch, index int64
	value                 *image
	op                    uint64
	err                   error
}

// ask makes a controller ask something of consul. do runs there, atomically.
func (c *consul) ask(from *process, what string, do func() answer, done func(answer)) {
	call(c.w, from, c.proc, "consul "+what, time.Second, func(reply func(answer)) {
		c.expire()
		if !c.leader {
			if c.w.chance(50) { // committed by the one that is lost, or not
				do()
			}
			reply(answer{err: errUnknown})
			return
		}
		a := do()
		c.w.point(c.proc)
		reply(a)
	}, func(a answer, err error) {
		if err != nil {
			a.err = errUnknown
		}
		done(a)
	})
}

func (c *consul) expire() {
	for _, id := range sorted(c.sessions) {
		if c.sessions[id] <= c.w.now {
			c.destroy(id)
		}
	}
}

func (c *consul) destroy(session int64) {
	delete(c.sessions, session)
	if c.holder == session {
		c.holder = 0
	}
}

func (c *consul) lease() time.Duration { return c.w.now + sessionTTL + c.w.upTo(sessionTTL) }

// acquire makes a session and takes the lock, if it is free (C1).
func (c *consul) acquire() answer {
	if c.holder != 0 {
		return answer{err: errCheck, session: c.holder}
	}
	c.next++
	c.sessions[c.next] = c.lease()
	c.holder = c.next
	return answer{session: c.next}
}

// renew keeps a session alive.
func (c *consul) renew(session int64) answer {
	if _, ok := c.sessions[session]; !ok {
		return answer{err: errCheck}
	}
	c.sessions[session] = c.lease()
	return answer{}
}

// begin raises the controller epoch for the holder of the lock (C1), and reads
// all.
func (c *consul) begin(session int64) answer {
	if c.holder != session {
		return answer{err: errCheck}
	}
	if c.writer != session { // a repeat is the same term
		c.epoch++
		c.writer = session
	}
	return c.read()
}

func (c *consul) read() answer {
	return answer{epoch: c.epoch, index: c.index, value: c.value, op: c.op}
}

// write replaces the value, if the writer still is the controller and the value
// is the one that it decided on (C3).
func (c *consul) write(session, epoch, index int64, value *image, op uint64) answer {
	if c.holder != session || c.epoch != epoch || c.index != index {
		return answer{err: errCheck}
	}
	c.index++
	c.value, c.op = value, op
	c.w.checkCommit(value)
	return c.read()
}
