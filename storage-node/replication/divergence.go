package replication

// Where two logs part (R2; KIP-101, KIP-279, KIP-595). The leader says up to
// which offset it shares the follower's last epoch; the follower cuts to there,
// and asks again. Nobody cuts to a high watermark.

// history is a leader's log as a follower's is compared with it.
type history struct {
	log Log
	// epoch that the leader is in and where it began: at the log's end of then,
	// also before it has a record (as in Kafka's makeLeader).
	epoch int32
	began int64
	end   int64
}

// endOf returns the largest epoch up to epoch, and where it ends.
func (h *history) endOf(epoch int32) EpochEnd {
	if epoch == h.epoch {
		return EpochEnd{epoch, h.end}
	}
	e, end := h.log.EndOffsetForEpoch(epoch)
	if e < 0 && epoch >= 0 {
		// Above all that have a record, and below the leader's own: of a leader
		// between whose records never came here.
		return EpochEnd{h.log.LatestEpoch(), h.began}
	}
	return EpochEnd{e, end}
}

// verdict is what the leader says of a follower's log: one of the three.
type verdict struct {
	diverge *EpochEnd
	reset   bool
	from    int64
}

// compare judges a follower's log that ends at end with a record of lastEpoch.
func (h *history) compare(end int64, lastEpoch int32) verdict {
	if lastEpoch >= 0 {
		if mine := h.endOf(lastEpoch); mine.Epoch < lastEpoch || mine.EndOffset < end {
			return verdict{diverge: &mine}
		}
	}
	switch {
	case end < h.log.StartOffset():
		return verdict{reset: true}
	case end > h.end: // without epochs only its length is known
		return verdict{diverge: &EpochEnd{-1, h.end}}
	}
	return verdict{from: end}
}

// cutPoint is where a follower whose log ends at end must cut it on the leader's
// word. Where both know the epoch, they share it up to the nearer of its two
// ends; where the follower does not, it cuts what is above that epoch, and asks
// again.
func cutPoint(log Log, end int64, leaders EpochEnd) int64 {
	if leaders.Epoch < 0 {
		return min(end, max(leaders.EndOffset, 0))
	}
	epoch, own := log.EndOffsetForEpoch(leaders.Epoch)
	switch {
	case epoch < 0: // all that it has is of lower epochs
		return min(end, leaders.EndOffset)
	case epoch != leaders.Epoch:
		return min(end, own)
	}
	return min(end, own, leaders.EndOffset)
}
