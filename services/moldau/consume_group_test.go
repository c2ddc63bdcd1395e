package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/transport"
)

// TestInterruptedConsumeCommitsAndLeaves: what was written to stdout is not
// written again, and the share is free at once.
func TestInterruptedConsumeCommitsAndLeaves(t *testing.T) {
	up := startUp(t)
	verb := func(stdin string, args ...string) string {
		t.Helper()
		var out, log bytes.Buffer
		if code := run(t.Context(), append(args, "--addr", up.grpc), strings.NewReader(stdin), &out, &log); code != exitOK {
			t.Fatalf("%v: code %d: %s", args, code, log.String())
		}
		return out.String()
	}
	verb("", "topic", "create", "river", "-p", "1")
	verb("one\ntwo\n", "produce", "river")

	ctx, interrupt := context.WithCancel(t.Context())
	out := &firstMatch{pattern: regexp.MustCompile(`(?s)one\ntwo\n`), found: make(chan []string, 1)}
	var log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"consume", "river", "-g", "readers", "--addr", up.grpc}, strings.NewReader(""), out, &log)
	}()
	<-out.found
	interrupt()
	if code := <-ended; code != exitOK {
		t.Fatalf("code %d: %s", code, log.String())
	}
	conn, err := transport.Dial(up.grpc, transport.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	resp, err := moldauv1.NewGroupServiceClient(conn).GetGroup(t.Context(), &moldauv1.GetGroupRequest{GroupId: "readers"})
	if err != nil || len(resp.GetGroup().GetMembers()) != 0 || resp.GetGroup().GetProgress()[0].GetCommittedOffset() != 2 {
		t.Errorf("%v, %v", resp, err)
	}
	verb("three\n", "produce", "river")
	if got := verb("", "consume", "river", "-g", "readers", "--until-end"); got != "three\n" {
		t.Errorf("it goes on with %q", got)
	}
}
