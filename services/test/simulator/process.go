package simulator

import "time"

// process is something that can be killed, paused and started again, with a
// clock of its own.
type process struct {
	id   int // index in World.processes
	name string
	up   bool
	life int // grows with each start and end
	// pausedTo is until when it is stopped (SIGSTOP); it does not notice.
	pausedTo time.Duration
	// rate of its clock, about 1.
	rate float64
	// fuse, where not 0, is how many crash points it has yet to live.
	fuse int

	start, end func() // what a start does, and what an end leaves
}

// crashed unwinds a process that is killed between two effects.
type crashed struct{ p *process }

// beginning is the time at which every world begins.
var beginning = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is the process's own idea of the time. It never goes back, as a
// monotonic clock does not, but it may be fast or slow.
func (w *World) clock(p *process) time.Time {
	return beginning.Add(time.Duration(float64(w.now) * p.rate))
}

// point is a place at which a process may be killed: between any two effects.
func (w *World) point(p *process) {
	if p.fuse > 0 {
		if p.fuse--; p.fuse == 0 {
			panic(crashed{p})
		}
	}
}

// after plans something that a process does, unless it ends before.
func (w *World) after(p *process, d time.Duration, what string, do func()) {
	w.events.plan(event{at: w.now + max(d, 0), p: p, life: p.life, what: what, do: do})
}

// at plans something that happens to the world.
func (w *World) at(d time.Duration, what string, do func()) {
	w.events.plan(event{at: w.now + d, what: what, do: do})
}

// boot starts a process.
func (w *World) boot(p *process) {
	if p.up {
		return
	}
	w.note("start", p.id)
	p.up, p.pausedTo, p.fuse = true, 0, 0
	p.life++
	w.within(p, p.start)
}

// kill ends a process. rude says that its peers are not told: the machine lost
// its power, and their connections end only when nothing comes for long.
func (w *World) kill(p *process, rude bool) {
	if !p.up {
		return
	}
	w.note("end", p.id)
	p.up, p.fuse = false, 0
	p.life++
	w.net.dead(p, rude)
	p.end()
}

// within runs do as a process, which may be killed in the middle of it.
func (w *World) within(p *process, do func()) {
	defer func() {
		if r := recover(); r != nil {
			c, ok := r.(crashed)
			if !ok || c.p != p {
				panic(r)
			}
			w.kill(p, false)
		}
	}()
	do()
}
