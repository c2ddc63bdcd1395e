package kafka

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions tells what is served.
//
// Versions 0–4. An unknown version is answered in version 0 with
// UNSUPPORTED_VERSION and the versions of this key alone (KIP-511); the
// response header is never flexible. From version 3 on the client's name and
// version are checked. Features with a lowest level of 0 are left out below
// version 4 (KAFKA-17492).
//
// Gaps: no version 5 (KIP-1242): a client could not come back through a
// balancer. Features of share and streams groups are not there, because they
// switch clients to APIs that are not served.
func apiVersionsAPI() api {
	return api{
		key: keyApiVersions, name: "ApiVersions", max: 4, flexible: 3,
		shape: shape{since(3, aString), since(3, aString)},
		serve: coded(apiVersions),
	}
}

var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

func apiVersions(c *conn, _ context.Context, req *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	if req.Version >= 3 && !(softwareName.MatchString(req.ClientSoftwareName) && softwareName.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	for i := range apis {
		if c.s.offers(&apis[i]) {
			resp.ApiKeys = append(resp.ApiKeys, apis[i].versions())
		}
	}
	resp.FinalizedFeaturesEpoch = c.s.meta.View().Revision
	for _, f := range c.s.features() {
		if f.lowest > 0 || req.Version >= 4 {
			resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: f.name, MinVersion: f.lowest, MaxVersion: f.highest})
		}
		if f.level > 0 {
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: f.name, MaxVersionLevel: f.level, MinVersionLevel: f.level})
		}
	}
	return resp
}

func (a *api) versions() kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
	if a.advertised != nil {
		k.MinVersion = *a.advertised
	}
	return k
}

// unknownApiVersions answers a version of ApiVersions that is not served: a
// client of a later Kafka learns which one is.
var unknownApiVersions = &api{
	key: keyApiVersions, name: "ApiVersions",
	serve: func(_ *conn, _ context.Context, req *request) (*response, error) {
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		resp.ApiKeys = append(resp.ApiKeys, find(keyApiVersions).versions())
		req.version = 0
		return req.encode(resp), nil
	},
}
