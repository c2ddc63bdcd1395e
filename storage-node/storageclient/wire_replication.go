package storageclient

import (
	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
)

func wordsToWire(w *FollowerWords) *storagev1.ReplicateRequest {
	out := &storagev1.ReplicateRequest{}
	if h := w.Hello; h != nil {
		out.Hello = &storagev1.ReplicaHello{ClusterId: h.ClusterID, NodeId: h.NodeID, NodeEpoch: h.NodeEpoch, WindowBytes: h.WindowBytes}
	}
	for i := range w.Begins {
		b := &w.Begins[i]
		out.Begins = append(out.Begins, &storagev1.SessionBegin{
			Handle: b.Handle, TopicId: b.Topic[:], Partition: b.Index, Session: b.Session, LeaderEpoch: b.LeaderEpoch,
			EndOffset: b.EndOffset, DurableEndOffset: b.DurableEnd, LastEpoch: b.LastEpoch, WindowBytes: b.WindowBytes,
		})
	}
	for _, a := range w.Acks {
		out.Acks = append(out.Acks, &storagev1.SessionAck{
			Handle: a.Handle, EndOffset: a.EndOffset, DurableEndOffset: a.DurableEnd, TakenBytes: a.TakenBytes,
		})
	}
	for _, h := range w.Ends {
		out.Ends = append(out.Ends, &storagev1.SessionEnd{Handle: h})
	}
	for i := range w.Resignations {
		r := &w.Resignations[i]
		out.Resignations = append(out.Resignations, &storagev1.Resignation{TopicId: r.Topic[:], Partition: r.Index, LeaderEpoch: r.LeaderEpoch})
	}
	return out
}

func wordsFromWire(in *storagev1.ReplicateRequest) (*FollowerWords, error) {
	w := &FollowerWords{}
	if h := in.Hello; h != nil {
		w.Hello = &ReplicaHello{ClusterID: h.ClusterId, NodeID: h.NodeId, NodeEpoch: h.NodeEpoch, WindowBytes: h.WindowBytes}
	}
	for _, b := range in.Begins {
		id, err := partitionFromWire(b.TopicId, b.Partition)
		if err != nil {
			return nil, err
		}
		w.Begins = append(w.Begins, SessionBegin{
			PartitionID: id, Handle: b.Handle, Session: b.Session, LeaderEpoch: b.LeaderEpoch,
			EndOffset: b.EndOffset, DurableEnd: b.DurableEndOffset, LastEpoch: b.LastEpoch, WindowBytes: b.WindowBytes,
		})
	}
	for _, a := range in.Acks {
		w.Acks = append(w.Acks, SessionAck{Handle: a.Handle, EndOffset: a.EndOffset, DurableEnd: a.DurableEndOffset, TakenBytes: a.TakenBytes})
	}
	for _, e := range in.Ends {
		w.Ends = append(w.Ends, e.Handle)
	}
	for _, r := range in.Resignations {
		id, err := partitionFromWire(r.TopicId, r.Partition)
		if err != nil {
			return nil, err
		}
		w.Resignations = append(w.Resignations, Resignation{PartitionID: id, LeaderEpoch: r.LeaderEpoch})
	}
	return w, nil
}

func frameToWire(f *LeaderFrame) *storagev1.ReplicateResponse {
	out := &storagev1.ReplicateResponse{}
	for i := range f.Answers {
		out.Answers = append(out.Answers, answerToWire(&f.Answers[i]))
	}
	for i := range f.Data {
		d := &f.Data[i]
		out.Data = append(out.Data, &storagev1.SessionData{
			Handle: d.Handle, BaseOffset: d.Base, EndOffset: d.End, HighWatermark: d.HighWatermark, LogStartOffset: d.LogStart,
			SizeBytes: int32(len(d.Batches)),
		})
	}
	return out
}

func answerToWire(a *SessionAnswer) *storagev1.SessionAnswer {
	out := &storagev1.SessionAnswer{Handle: a.Handle}
	switch {
	case a.Accept != nil:
		out.Answer = &storagev1.SessionAnswer_Accept{Accept: &storagev1.SessionAccept{
			FromOffset: a.Accept.From, HighWatermark: a.Accept.HighWatermark, LogStartOffset: a.Accept.LogStart,
		}}
	case a.Diverge != nil:
		out.Answer = &storagev1.SessionAnswer_Diverge{Diverge: epochEndToWire(a.Diverge)}
	case a.Reset != nil:
		out.Answer = &storagev1.SessionAnswer_Reset_{Reset_: *a.Reset}
	default:
		out.Answer = &storagev1.SessionAnswer_Refuse{Refuse: string(a.Refuse)}
	}
	return out
}

func answerFromWire(in *storagev1.SessionAnswer) SessionAnswer {
	a := SessionAnswer{Handle: in.Handle}
	switch w := in.Answer.(type) {
	case *storagev1.SessionAnswer_Accept:
		a.Accept = &SessionAccept{From: w.Accept.GetFromOffset(), HighWatermark: w.Accept.GetHighWatermark(), LogStart: w.Accept.GetLogStartOffset()}
	case *storagev1.SessionAnswer_Diverge:
		a.Diverge = epochEndFromWire(w.Diverge)
	case *storagev1.SessionAnswer_Reset_:
		a.Reset = &w.Reset_
	case *storagev1.SessionAnswer_Refuse:
		a.Refuse = errcode.Internal
		if r, ok := errcode.ParseReason(w.Refuse); ok {
			a.Refuse = r
		}
	default:
		a.Refuse = errcode.Internal // an answer of a later version
	}
	return a
}

// frameFromWire returns a frame whose batches lie in body, and whose last
// Release calls release.
func frameFromWire(in *storagev1.ReplicateResponse, body []byte, release func()) (*LeaderFrame, error) {
	f := NewLeaderFrame(make([]SessionAnswer, len(in.Answers)), make([]SessionData, len(in.Data)), release)
	for i, a := range in.Answers {
		f.Answers[i] = answerFromWire(a)
	}
	c := cutter{body}
	for i, d := range in.Data {
		batches, err := c.cut(d.SizeBytes)
		if err != nil {
			return nil, err
		}
		f.Data[i] = SessionData{
			Handle: d.Handle, Base: d.BaseOffset, End: d.EndOffset, HighWatermark: d.HighWatermark, LogStart: d.LogStartOffset,
			Batches: batches,
		}
	}
	return f, c.end()
}
