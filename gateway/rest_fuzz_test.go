package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"moldau.dev/gateway/rest"
	"moldau.dev/services/errcode"
)

// FuzzREST: whatever a request of the REST door holds, the answer is a JSON
// object, with a reason where it failed, and no failure is the gateway's own.
func FuzzREST(f *testing.F) {
	r := newRig(f)
	r.topic("t", 2)
	for _, seed := range [][3]string{
		{"POST", "/v1/topics", `{"name":"x","partitionCount":3,"configs":{"retention.ms":"1"}}`},
		{"GET", "/v1/topics/t?min_revision=1", ``},
		{"GET", "/v1/topics?page_size=1&page_token=dA", ``},
		{"PATCH", "/v1/topics/t", `{"configs":{"segment.ms":"1"},"updateMask":"configs","version":"1"}`},
		{"POST", "/v1/topics/t/records", `{"records":[{"key":"YQ==","value":"aGk=","headers":[{"key":"h","value":""}],"timestamp":"2026-01-01T00:00:00Z"}]}`},
		{"POST", "/v1/topics/t/records", `{"recordBatch":"AAAA","partition":0,"producer":{"producerId":"1","sequence":2}}`},
		{"POST", "/v1/topics/t:trim", `{"partitions":[{"partition":0,"beforeOffset":"-1"}]}`},
		{"POST", "/v1/topics/t:addPartitions", `{"partitionCount":4}`},
		{"GET", "/v1/topics/t/partitions/0/records?position.offset=0&max_wait=0s", ``},
		{"GET", "/v1/topics/t/offsets?partitions=0&partitions=1&at.timestamp=2026-01-01T00:00:00Z", ``},
		{"GET", "/v1/cluster", ``}, {"GET", "/v1/groups", ``}, {"GET", "/v1/groups/g/offsets", ``}, {"GET", "/v1/transactions", ``},
		{"POST", "/v1/nodes/1:drain", `{}`}, {"DELETE", "/v1/topics/t", ``}, {"GET", "/v1/%2e%2e/%00", `[`}, {"PUT", "/v1/topics/t", `{{{{`},
		{"POST", "/v1/topics", `{"name":"x","name":"y","nosuch":1e999}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.ParseRequestURI(r.url("/v1/") + strings.TrimPrefix(path, "/v1/"))
		if err != nil || rest.Streams(u.Path) || strings.ContainsFunc(u.RequestURI(), func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return // the last is no HTTP, and net/http's to refuse
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(body))
		if err != nil || method == http.MethodHead || method == http.MethodConnect {
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			if ctx.Err() == nil {
				t.Fatalf("%s %q %q: %v", method, u.RequestURI(), body, err)
			}
			return // a long poll
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return // a long poll
		}
		if method == http.MethodOptions {
			return // CORS, which has no body
		}
		var answer struct{ Reason errcode.Reason }
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&answer); err != nil {
			t.Fatalf("%s %q %q: %d %q: %v", method, u.RequestURI(), body, resp.StatusCode, text, err)
		}
		if failed := resp.StatusCode >= 400; failed != (answer.Reason != "") || answer.Reason == errcode.Internal {
			t.Errorf("%s %q %q: %d %s", method, u.RequestURI(), body, resp.StatusCode, text)
		}
	})
}
