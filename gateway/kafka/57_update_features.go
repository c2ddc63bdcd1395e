package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// UpdateFeatures changes feature levels, all or none (KIP-584).
//
// Versions 0–2. An error stands above; up to version 1 what succeeds is named too.
func updateFeaturesAPI() api {
	return api{
		key: 57, name: "UpdateFeatures", max: 2, flexible: 0,
		shape: shape{
			always(anInt32), listOf(always(aString), always(anInt16), between(0, 0, aBool), since(1, anInt8)), since(1, aBool),
		},
		serve: coded(updateFeatures),
	}
}

// The ways in which a level may change: up, or down, with loss or without.
const (
	upgrade         = 1
	unsafeDowngrade = 3
)

func updateFeatures(c *conn, ctx context.Context, req *kmsg.UpdateFeaturesRequest) *kmsg.UpdateFeaturesResponse {
	ctx, cancel := c.s.within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrUpdateFeaturesResponse()
	err := c.s.updateFeatures(ctx, req)
	resp.ErrorCode, resp.ErrorMessage = adminCodeOf(err), textOf(err)
	if errcode.Is(err, errcode.FeatureUpdateFailed) {
		resp.ErrorCode = kerr.InvalidUpdateVersion.Code
	}
	if err != nil {
		return resp
	}
	for _, f := range req.FeatureUpdates {
		resp.Results = append(resp.Results, kmsg.UpdateFeaturesResponseResult{Feature: f.Feature})
	}
	return resp
}

func (s *Server) updateFeatures(ctx context.Context, req *kmsg.UpdateFeaturesRequest) error {
	ask := &metadatav1.UpdateFeaturesRequest{Levels: map[string]int32{}, ValidateOnly: req.ValidateOnly}
	for _, f := range req.FeatureUpdates {
		if _, twice := ask.Levels[f.Feature]; twice {
			return errcode.New(errcode.InvalidArgument, "feature %s is named twice", f.Feature)
		}
		if f.MaxVersionLevel < 0 {
			return errcode.New(errcode.InvalidArgument, "feature %s: level %d is negative", f.Feature, f.MaxVersionLevel)
		}
		if req.Version >= 1 && (f.UpgradeType < upgrade || f.UpgradeType > unsafeDowngrade) {
			return errcode.New(errcode.InvalidArgument, "feature %s: %d is no way of changing it", f.Feature, f.UpgradeType)
		}
		if down := f.AllowDowngrade || f.UpgradeType > upgrade; down {
			ask.AllowDowngrade = true
		} else if int16(f.MaxVersionLevel) < s.featureLevel(f.Feature) {
			return errcode.New(errcode.FeatureUpdateFailed, "feature %s: level %d is below %d, and a downgrade was not asked for",
				f.Feature, f.MaxVersionLevel, s.featureLevel(f.Feature))
		}
		ask.Levels[f.Feature] = int32(f.MaxVersionLevel)
	}
	if len(ask.Levels) == 0 {
		return nil
	}
	done, err := s.meta.UpdateFeatures(ctx, ask)
	if err != nil {
		return err
	}
	s.follow(ctx, done.GetRevision(), req.ValidateOnly)
	return nil
}
