package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/hashicorp/consul/api"
)

// fenceOps is how many operations prove the fence of a transaction.
const fenceOps = 2

// Commit implements Store: [check-session, check-index epoch, ops…], all or
// nothing (C3).
func (c *Consul) Commit(ctx context.Context, fence Fence, ops []Op) (int64, error) {
	if err := checkSize(ops); err != nil {
		return 0, err
	}
	c.mu.Lock()
	lease := c.leases[fence]
	c.mu.Unlock()
	ctx, cancel, err := c.begin(ctx, requestPatience)
	if err != nil {
		return 0, err
	}
	defer cancel()
	if lease == nil {
		return 0, ErrDeposed
	}
	index, err := c.commit(ctx, lease, ops)
	if deposed(err) {
		lease.end()
	}
	return index, err
}

func (c *Consul) commit(ctx context.Context, lease *consulLease, ops []Op) (int64, error) {
	txn := append(make(api.TxnOps, 0, fenceOps+2*len(ops)), c.fence(lease)...)
	blame := make([]int, fenceOps, cap(txn)) // index in ops of each operation
	marker := rand.Uint64() >> 11            // a write that changes nothing would not count as one
	for i, op := range ops {
		for _, kv := range translate(op) {
			kv.Key, kv.Flags = c.prefix+consulPairs+op.Key, marker
			txn = append(txn, &api.TxnOp{KV: kv})
			blame = append(blame, i)
		}
	}
	ok, resp, _, err := c.client.Txn().Txn(txn, consistent(ctx))
	switch {
	case err != nil && unsent(err):
		return 0, c.failure("reach", err)
	case err != nil:
		return 0, fmt.Errorf("%w: consul: %w", ErrUnknown, err)
	case !ok:
		return 0, c.refusal(ctx, ops, blame, resp.Errors)
	}
	return newest(resp.Results), nil
}

// fence returns the operations that hold while lease is the newest.
func (c *Consul) fence(l *consulLease) api.TxnOps {
	return api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVCheckSession, Key: c.prefix + consulLock, Session: l.holder.Fence.Session}},
		{KV: &api.KVTxnOp{Verb: api.KVCheckIndex, Key: c.prefix + consulEpoch, Index: l.epochIndex}},
	}
}

func translate(op Op) []*api.KVTxnOp {
	index := uint64(op.Index)
	switch op.Kind {
	case Set:
		return []*api.KVTxnOp{{Verb: api.KVSet, Value: op.Value}}
	case CAS:
		return []*api.KVTxnOp{{Verb: api.KVCAS, Value: op.Value, Index: index}}
	case Delete:
		return []*api.KVTxnOp{{Verb: api.KVDelete}}
	case DeleteCAS: // Consul's delete-cas lets a missing key pass
		return []*api.KVTxnOp{{Verb: api.KVCheckIndex, Index: index}, {Verb: api.KVDelete}}
	case Check:
		if op.Index == 0 {
			return []*api.KVTxnOp{{Verb: api.KVCheckNotExists}}
		}
		return []*api.KVTxnOp{{Verb: api.KVCheckIndex, Index: index}}
	}
	panic(fmt.Sprintf("store: no such kind of operation: %d", op.Kind))
}

// newest returns the index of what was just written: Raft's own, so the
// highest. Without a write it is that of the epoch.
func newest(results api.TxnResults) (index int64) {
	for _, r := range results {
		if r.KV != nil {
			index = max(index, int64(r.KV.ModifyIndex))
		}
	}
	return index
}

// refusal says why a transaction was rolled back. Consul names each operation
// that failed.
func (c *Consul) refusal(ctx context.Context, ops []Op, blame []int, errs api.TxnErrors) error {
	if err := c.denied(errs); err != nil {
		return err
	}
	for _, e := range errs {
		if e.OpIndex < fenceOps {
			return ErrDeposed
		}
	}
	if len(errs) == 0 || errs[0].OpIndex >= len(blame) {
		return fmt.Errorf("%w: consul rolled back without a reason", ErrUnknown)
	}
	op := ops[blame[errs[0].OpIndex]]
	return &ConflictError{Key: op.Key, Want: op.Index, Got: c.indexNow(ctx, op.Key)}
}

// denied returns an error where access control is why a transaction failed.
func (c *Consul) denied(errs api.TxnErrors) error {
	for _, e := range errs {
		if strings.Contains(e.What, "Permission denied") {
			return fmt.Errorf("consul: the token must grant key_prefix %q write and session write: %s", c.prefix, e.What)
		}
	}
	return nil
}

// indexNow reads the index of a key for the text of an error; -1 where it
// cannot be read.
func (c *Consul) indexNow(ctx context.Context, key string) int64 {
	p, _, err := c.client.KV().Get(c.prefix+consulPairs+key, consistent(ctx))
	switch {
	case err != nil:
		return -1
	case p == nil:
		return 0
	}
	return int64(p.ModifyIndex)
}
