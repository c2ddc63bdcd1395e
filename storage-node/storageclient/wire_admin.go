package storageclient

import (
	storagev1 "moldau.dev/proto/gen/storage/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

func listToWire(req *ListOffsetsRequest) *storagev1.ListOffsetsRequest {
	w := &storagev1.ListOffsetsRequest{ReadCommitted: req.ReadCommitted}
	for i := range req.Partitions {
		p := &req.Partitions[i]
		w.Partitions = append(w.Partitions, &storagev1.ListOffsetsPartition{
			TopicId: p.Topic[:], Partition: p.Index, LeaderEpoch: p.LeaderEpoch, Timestamp: p.Timestamp,
		})
	}
	return w
}

func listFromWire(w *storagev1.ListOffsetsRequest) (*ListOffsetsRequest, error) {
	req := &ListOffsetsRequest{ReadCommitted: w.ReadCommitted}
	for _, p := range w.Partitions {
		id, err := partitionFromWire(p.TopicId, p.Partition)
		if err != nil {
			return nil, err
		}
		req.Partitions = append(req.Partitions, ListOffsetsPartition{PartitionID: id, LeaderEpoch: p.LeaderEpoch, Timestamp: p.Timestamp})
	}
	return req, nil
}

func listedToWire(resp *ListOffsetsResponse) *storagev1.ListOffsetsResponse {
	w := &storagev1.ListOffsetsResponse{}
	for _, r := range resp.Results {
		w.Results = append(w.Results, &storagev1.ListOffsetsResult{
			Error: errorToWire(r.Err), Offset: r.Offset, Timestamp: r.Timestamp, LeaderEpoch: r.LeaderEpoch,
		})
	}
	return w
}

func listedFromWire(w *storagev1.ListOffsetsResponse) *ListOffsetsResponse {
	resp := &ListOffsetsResponse{}
	for _, r := range w.Results {
		resp.Results = append(resp.Results, ListOffsetsResult{
			Err: errorFromWire(r.Error), Offset: r.Offset, Timestamp: r.Timestamp, LeaderEpoch: r.LeaderEpoch,
		})
	}
	return resp
}

func deleteToWire(req *DeleteRecordsRequest) *storagev1.DeleteRecordsRequest {
	w := &storagev1.DeleteRecordsRequest{}
	for i := range req.Partitions {
		p := &req.Partitions[i]
		w.Partitions = append(w.Partitions, &storagev1.DeleteRecordsPartition{
			TopicId: p.Topic[:], Partition: p.Index, BeforeOffset: p.BeforeOffset,
		})
	}
	return w
}

func deleteFromWire(w *storagev1.DeleteRecordsRequest) (*DeleteRecordsRequest, error) {
	req := &DeleteRecordsRequest{}
	for _, p := range w.Partitions {
		id, err := partitionFromWire(p.TopicId, p.Partition)
		if err != nil {
			return nil, err
		}
		req.Partitions = append(req.Partitions, DeleteRecordsPartition{PartitionID: id, BeforeOffset: p.BeforeOffset})
	}
	return req, nil
}

func deletedToWire(resp *DeleteRecordsResponse) *storagev1.DeleteRecordsResponse {
	w := &storagev1.DeleteRecordsResponse{}
	for _, r := range resp.Results {
		w.Results = append(w.Results, &storagev1.DeleteRecordsResult{Error: errorToWire(r.Err), LogStartOffset: r.LogStartOffset})
	}
	return w
}

func deletedFromWire(w *storagev1.DeleteRecordsResponse) *DeleteRecordsResponse {
	resp := &DeleteRecordsResponse{}
	for _, r := range w.Results {
		resp.Results = append(resp.Results, DeleteRecordsResult{Err: errorFromWire(r.Error), LogStartOffset: r.LogStartOffset})
	}
	return resp
}

func describeToWire(topics []topicid.ID) *storagev1.DescribeReplicasRequest {
	w := &storagev1.DescribeReplicasRequest{}
	for i := range topics {
		w.TopicIds = append(w.TopicIds, topics[i][:])
	}
	return w
}

func describeFromWire(w *storagev1.DescribeReplicasRequest) ([]topicid.ID, error) {
	var topics []topicid.ID
	for _, b := range w.TopicIds {
		id, err := topicid.FromBytes(b)
		if err != nil {
			return nil, errcode.Wrap(err, errcode.InvalidArgument, "topic id of %d bytes, want 16", len(b)).WithField("topic_ids")
		}
		topics = append(topics, id)
	}
	return topics, nil
}

func describedToWire(replicas []ReplicaState) *storagev1.DescribeReplicasResponse {
	w := &storagev1.DescribeReplicasResponse{}
	for i := range replicas {
		r := &replicas[i]
		w.Replicas = append(w.Replicas, &storagev1.ReplicaState{
			TopicId: r.Topic[:], Partition: r.Index, SizeBytes: r.SizeBytes, LogStartOffset: r.LogStartOffset,
			HighWatermark: r.HighWatermark, LogEndOffset: r.LogEndOffset, SegmentCount: r.SegmentCount, Fault: r.Fault,
			LastStableOffset: r.LastStableOffset, Leads: r.Leads,
		})
	}
	return w
}

func describedFromWire(w *storagev1.DescribeReplicasResponse) ([]ReplicaState, error) {
	var replicas []ReplicaState
	for _, r := range w.Replicas {
		id, err := partitionFromWire(r.TopicId, r.Partition)
		if err != nil {
			return nil, err
		}
		replicas = append(replicas, ReplicaState{
			PartitionID: id, SizeBytes: r.SizeBytes, LogStartOffset: r.LogStartOffset,
			HighWatermark: r.HighWatermark, LogEndOffset: r.LogEndOffset, SegmentCount: r.SegmentCount, Fault: r.Fault,
			LastStableOffset: r.LastStableOffset, Leads: r.Leads,
		})
	}
	return replicas, nil
}
