package txn

import (
	"maps"
	"slices"
	"time"

	"moldau.dev/coordinator/journal"
)

// expire ends a transaction that was open for too long (invariant 26), or
// forgets an id that nobody has used for long (T16).
func (m *Machine) expire(t *transaction) {
	if t.State == Ongoing {
		if !m.end(t, ending{by: ByTimeout, version: 2}) {
			m.timers.Set(t.id, time.UnixMilli(m.nowMs).Add(waitForIDs))
		}
		return
	}
	if !Dead.follows(t.State) {
		panic("txn: " + t.id + " would be forgotten while its markers are under way")
	}
	delete(m.txns, t.id)
	m.out.Write(journal.Drop(Kind, t.id))
}

// waitForIDs is when an end that needs a producer id is tried again.
const waitForIDs = time.Second

// setTimer sets when something must be done about t if nobody else does.
func (m *Machine) setTimer(t *transaction) {
	switch {
	case t.State == Ongoing:
		m.timers.Set(t.id, time.UnixMilli(t.StartMs+int64(t.TimeoutMs)))
	case t.State.preparing():
		m.timers.Cancel(t.id)
	default:
		m.timers.Set(t.id, time.UnixMilli(t.UpdateMs+int64(m.cfg.IDExpirationMs)))
	}
}

func (m *Machine) setAllTimers() {
	for _, id := range slices.Sorted(maps.Keys(m.txns)) {
		m.setTimer(m.txns[id])
	}
}
