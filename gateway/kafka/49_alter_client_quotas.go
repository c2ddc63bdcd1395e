package kafka

import (
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway/quota"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// AlterClientQuotas changes quotas of users, client ids and addresses (KIP-546,
// KIP-612).
//
// Versions 0–1. They hold at every gateway once the answer is there.
func alterClientQuotasAPI() api {
	return api{
		key: 49, name: "AlterClientQuotas", max: 1, flexible: 1,
		shape: shape{
			listOf(listOf(always(aString), always(aString)), listOf(always(aString), always(anInt64), always(aBool))), always(aBool),
		},
		serve: coded(alterClientQuotas),
	}
}

func alterClientQuotas(c *conn, ctx context.Context, req *kmsg.AlterClientQuotasRequest) *kmsg.AlterClientQuotasResponse {
	resp := kmsg.NewPtrAlterClientQuotasResponse()
	for i := range req.Entries {
		in := &req.Entries[i]
		err := c.s.alterQuota(ctx, in, req.ValidateOnly)
		out := kmsg.AlterClientQuotasResponseEntry{ErrorCode: adminCodeOf(err), ErrorMessage: textOf(err)}
		for _, e := range in.Entity {
			out.Entity = append(out.Entity, kmsg.AlterClientQuotasResponseEntryEntity{Type: e.Type, Name: e.Name})
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp
}

func (s *Server) alterQuota(ctx context.Context, in *kmsg.AlterClientQuotasRequestEntry, validateOnly bool) error {
	e, err := quotaEntity(in.Entity)
	if err != nil {
		return err
	}
	ask := &metadatav1.AlterClusterConfigsRequest{BrokerId: -1, Set: map[string]string{}, ValidateOnly: validateOnly}
	seen := map[string]bool{}
	for _, op := range in.Ops {
		if seen[op.Key] {
			return errcode.New(errcode.InvalidArgument, "Duplicate quota key %s", op.Key)
		}
		seen[op.Key] = true
		limit := op.Value
		if op.Remove {
			limit = 1 // which any key may have
		}
		if err := quota.Check(e, op.Key, limit); err != nil {
			return errcode.New(errcode.InvalidArgument, "%v", err)
		}
		if op.Remove {
			ask.Reset_ = append(ask.Reset_, quota.Setting(e, op.Key))
		} else {
			ask.Set[quota.Setting(e, op.Key)] = quota.Value(limit)
		}
	}
	if len(seen) == 0 {
		return nil
	}
	done, err := s.meta.AlterClusterConfigs(ctx, ask)
	if err != nil {
		return err
	}
	s.follow(ctx, done.GetRevision(), validateOnly)
	return nil
}

func quotaEntity(in []kmsg.AlterClientQuotasRequestEntryEntity) (quota.Entity, error) {
	e := quota.Entity{}
	for _, part := range in {
		if part.Type != quota.User && part.Type != quota.ClientID && part.Type != quota.IP {
			return nil, errcode.New(errcode.InvalidArgument, "Unhandled client quota entity type: %s", part.Type)
		}
		if _, twice := e[part.Type]; twice {
			return nil, errcode.New(errcode.InvalidArgument, "Invalid client quota entity, type %s is there twice", part.Type)
		}
		if part.Name != nil && *part.Name == "" {
			return nil, errcode.New(errcode.InvalidArgument, "Empty %s not supported", part.Type)
		}
		if part.Type == quota.IP && part.Name != nil && net.ParseIP(*part.Name) == nil {
			return nil, errcode.New(errcode.InvalidArgument, "%s is not a valid IP", *part.Name)
		}
		e[part.Type] = text(part.Name)
	}
	if _, ofIP := e[quota.IP]; len(e) == 0 || ofIP && len(e) > 1 {
		return nil, errcode.New(errcode.InvalidArgument, "Invalid client quota entity: neither a user, a client id, both of them, nor an IP")
	}
	return e, nil
}
