package testcluster

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// patience bounds one question who leads: a process that is frozen never
// answers.
const patience = time.Second

// Metadata returns a client of one metadata process, until the test ends.
func (c *Cluster) Metadata(t testing.TB, m Member) metadatav1.MetadataServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(c.MetadataAddr(t, m), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return metadatav1.NewMetadataServiceClient(conn)
}

// ActiveMetadata returns the metadata process that leads, of those that answer,
// as soon as one does. It is asked by the clients given, by member.
func ActiveMetadata(t testing.TB, clients map[Member]metadatav1.MetadataServiceClient) Member {
	t.Helper()
	for Context(t).Err() == nil {
		ctx, cancel := context.WithTimeout(Context(t), patience)
		leads := make(chan Member, len(clients))
		var asked sync.WaitGroup
		for m, client := range clients {
			asked.Go(func() {
				if pong, err := client.Ping(ctx, &metadatav1.PingRequest{}); err == nil && pong.GetActive() {
					leads <- m
					cancel()
				}
			})
		}
		asked.Wait()
		cancel()
		if len(leads) > 0 {
			return <-leads
		}
	}
	t.Fatal("no metadata process leads")
	return Member{}
}
