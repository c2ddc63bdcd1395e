//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// copyAtOnce is how many records of a partition one transaction copies.
const copyAtOnce = 500

// copyNative copies a topic into another, exactly once, by unary calls of the
// gRPC door, each transaction with the offsets that it read up to, until ctx
// ends. Whatever goes wrong, it begins anew.
func copyNative(ctx context.Context, r *recorder, process int, c *gatewayclient.Client, group, from, to string, partitions int32) error {
	var h *moldauv1.TransactionHandle
	for partition := int32(0); ctx.Err() == nil; partition = (partition + 1) % partitions {
		err := func() (err error) {
			if h == nil {
				if h, err = beginNative(ctx, c, group); err != nil {
					return err
				}
			}
			h, err = copySome(ctx, c, h, group, from, to, partition)
			return err
		}()
		if err != nil && ctx.Err() == nil {
			h = nil
			r.failed(process, err)
			rest(ctx, r.clk, retryPause)
		}
	}
	return nil
}

// copySome copies what one fetch brings, in one transaction, and returns the
// handle of the next one.
func copySome(ctx context.Context, c *gatewayclient.Client, h *moldauv1.TransactionHandle, group, from, to string, partition int32) (*moldauv1.TransactionHandle, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	at, err := committed(ctx, c, group, from, partition)
	if err != nil {
		return nil, err
	}
	got, err := c.Offsets().Fetch(ctx, &moldauv1.FetchRequest{
		Topic: from, Partition: partition, Position: &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: max(at, 0)}}, MaxRecords: copyAtOnce, ReadCommitted: true,
	})
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	if got.GetNextOffset() <= max(at, 0) {
		return h, nil
	}
	if len(got.GetRecords()) > 0 {
		var values [][]byte
		for _, rec := range got.GetRecords() {
			values = append(values, rec.GetValue())
		}
		if _, err := produceIn(ctx, c, h, to, partition, values); err != nil {
			return nil, err
		}
	}
	resp, err := c.GroupOffsets().CommitOffsets(ctx, &moldauv1.CommitOffsetsRequest{
		GroupId: group, Transaction: h, Offsets: []*moldauv1.GroupOffset{{Topic: from, Partition: partition, Offset: got.GetNextOffset()}},
	})
	if err == nil {
		err = refusedOffset(resp.GetOffsets())
	}
	if err != nil {
		return nil, fmt.Errorf("commit offsets: %w", err)
	}
	next, err := c.Transactions().CommitTransaction(ctx, &moldauv1.CommitTransactionRequest{Transaction: h})
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return next.GetNext(), nil
}

// committed returns the committed offset of a group in one partition, -1 where
// there is none.
func committed(ctx context.Context, c *gatewayclient.Client, group, topic string, partition int32) (int64, error) {
	resp, err := c.GroupOffsets().FetchOffsets(ctx, &moldauv1.FetchOffsetsRequest{GroupId: group, Topics: []string{topic}, RequireStable: true})
	if err == nil {
		err = refusedOffset(resp.GetOffsets())
	}
	if err != nil {
		return 0, fmt.Errorf("fetch offsets: %w", err)
	}
	for _, o := range resp.GetOffsets() {
		if o.GetTopic() == topic && o.GetPartition() == partition {
			return o.GetOffset(), nil
		}
	}
	return -1, nil
}

// refusedOffset returns the errors that single offsets have.
func refusedOffset(offsets []*moldauv1.GroupOffset) error {
	var errs []error
	for _, o := range offsets {
		if e := o.GetError(); e != nil {
			errs = append(errs, fmt.Errorf("%s-%d: %s: %s", o.GetTopic(), o.GetPartition(), e.GetReason(), e.GetMessage()))
		}
	}
	return errors.Join(errs...)
}
