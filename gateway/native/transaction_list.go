package native

import (
	"context"
	"encoding/base64"
	"sort"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

const (
	maxIDPatternBytes  = 1024
	maxListedProducers = 1000
)

// ListTransactions lists transactional ids, in pages.
func (s *Server) ListTransactions(ctx context.Context, req *moldauv1.ListTransactionsRequest) (*moldauv1.ListTransactionsResponse, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	if size < 0 || size > maxPageSize {
		return nil, invalid("page_size", "%d is not within 1 to %d", size, maxPageSize)
	}
	after, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil {
		return nil, invalid("page_token", "the token is not of a page of this listing")
	}
	query, err := transactionQuery(req)
	if err != nil {
		return nil, err
	}
	all, err := s.coordinators.ListTransactions(ctx, query)
	if errcode.Is(err, errcode.InvalidRegularExpression) {
		err = errcode.Of(err).WithField("id_pattern")
	}
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.ListTransactionsResponse{MissingShardCount: int32(len(all.GetLoadingShards())), Origin: s.origin()}
	rest := all.GetTransactions() // by id
	rest = rest[sort.Search(len(rest), func(i int) bool { return rest[i].GetTransactionalId() > string(after) }):]
	if len(rest) > size {
		rest = rest[:size]
		resp.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(rest[size-1].GetTransactionalId()))
	}
	for _, t := range rest {
		resp.Transactions = append(resp.Transactions, showTransaction(t))
	}
	return resp, nil
}

func transactionQuery(req *moldauv1.ListTransactionsRequest) (*coordinatorv1.ListTransactionsRequest, error) {
	q := &coordinatorv1.ListTransactionsRequest{LongerThanMs: -1, IdPattern: req.GetIdPattern(), ProducerIds: req.GetProducerIds()}
	if n := len(q.IdPattern); n > maxIDPatternBytes {
		return nil, invalid("id_pattern", "%d bytes, at most %d are allowed", n, maxIDPatternBytes)
	}
	if n := len(q.ProducerIds); n > maxListedProducers {
		return nil, invalid("producer_ids", "%d ids, at most %d are allowed", n, maxListedProducers)
	}
	if d := req.GetOlderThan(); d != nil {
		if d.CheckValid() != nil || d.AsDuration() < 0 {
			return nil, invalid("older_than", "not a length of time from 0 on")
		}
		q.LongerThanMs = d.AsDuration().Milliseconds()
	}
	for i, state := range req.GetStates() {
		name := stateName(state)
		if name == "" {
			return nil, invalid("states", "state %d at %d is not known", state, i)
		}
		q.States = append(q.States, name)
	}
	return q, nil
}

// stateName is Kafka's name of a state; empty where it is none.
func stateName(state moldauv1.TransactionState) string {
	for name, s := range transactionStates {
		if s == state {
			return name
		}
	}
	return ""
}
