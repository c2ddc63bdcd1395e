package kafka

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway/quota"
	"moldau.dev/services/errcode"
)

// DescribeClientQuotas tells the quotas of users, client ids and addresses that
// match a filter (KIP-546).
//
// Versions 0–1.
func describeClientQuotasAPI() api {
	return api{
		key: 48, name: "DescribeClientQuotas", max: 1, flexible: 1,
		shape: shape{listOf(always(aString), always(anInt8), always(aString)), always(aBool)},
		serve: coded(describeClientQuotas),
	}
}

func describeClientQuotas(c *conn, _ context.Context, req *kmsg.DescribeClientQuotasRequest) *kmsg.DescribeClientQuotasResponse {
	resp := kmsg.NewPtrDescribeClientQuotasResponse()
	if err := checkFilter(req.Components); err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), textOf(err)
		return resp
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	for _, rule := range c.s.quotas().All() {
		if !matches(rule.Entity, req) {
			continue
		}
		out := kmsg.DescribeClientQuotasResponseEntry{}
		for _, kind := range slices.Sorted(maps.Keys(rule.Entity)) {
			out.Entity = append(out.Entity, kmsg.DescribeClientQuotasResponseEntryEntity{Type: kind, Name: nullable(rule.Entity[kind])})
		}
		for _, key := range slices.Sorted(maps.Keys(rule.Limits)) {
			out.Values = append(out.Values, kmsg.DescribeClientQuotasResponseEntryValue{Key: key, Value: rule.Limits[key]})
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp
}

func checkFilter(components []kmsg.DescribeClientQuotasRequestComponent) error {
	seen := map[string]bool{}
	for _, f := range components {
		switch {
		case f.EntityType == "":
			return errcode.New(errcode.InvalidArgument, "Unexpected empty filter component entity type")
		case f.EntityType != quota.User && f.EntityType != quota.ClientID && f.EntityType != quota.IP:
			return errcode.New(errcode.Unimplemented, "Custom entity type '%s' not supported", f.EntityType)
		case seen[f.EntityType]:
			return errcode.New(errcode.InvalidArgument, "Entity type %s cannot appear more than once in the filter", f.EntityType)
		case f.MatchType == kmsg.QuotasMatchTypeExact && f.Match == nil:
			return errcode.New(errcode.InvalidArgument, "an exact match needs a name")
		case f.MatchType != kmsg.QuotasMatchTypeExact && f.Match != nil:
			return errcode.New(errcode.InvalidArgument, "only an exact match has a name")
		case f.MatchType < kmsg.QuotasMatchTypeExact || f.MatchType > kmsg.QuotasMatchTypeAny:
			return errcode.New(errcode.InvalidArgument, "Unexpected filter match type: %d", f.MatchType)
		}
		seen[f.EntityType] = true
	}
	if seen[quota.IP] && len(seen) > 1 {
		return errcode.New(errcode.InvalidArgument, "Invalid entity filter component combination, IP filter component should not be used with user or clientId filter component.")
	}
	return nil
}

// matches tells whether an entity has all that is asked for and, if that is
// strict, nothing else.
func matches(e quota.Entity, req *kmsg.DescribeClientQuotasRequest) bool {
	for _, f := range req.Components {
		name, has := e[f.EntityType]
		switch {
		case !has:
			return false
		case f.MatchType == kmsg.QuotasMatchTypeExact && (name == quota.Default || name != *f.Match):
			return false
		case f.MatchType == kmsg.QuotasMatchTypeDefault && name != quota.Default:
			return false
		}
	}
	return !req.Strict || len(e) == len(req.Components)
}
