package storagenode

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/telemetry"
)

const (
	// seenFile holds how far the node has followed metadata: what a controller
	// whose store was set back does not know (C11).
	seenFile = "metadata-seen.json"
	// seenInterval is how old that may be after a crash.
	seenInterval = 5 * time.Second
)

// readSeen reads what the processes before this one have seen.
func (s *Service) readSeen() error {
	b, err := readFile(s.fs, s.file(seenFile))
	if isNotExist(err) {
		return nil
	}
	seen := &metadatav1.Position{}
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, seen)
	}
	if err != nil {
		return fmt.Errorf("%s says how far metadata was followed, and is damaged: %w", s.file(seenFile), err)
	}
	s.seenBefore, s.seenKept = seen, seen.GetRevision()
	return nil
}

// seen returns how far the node has followed metadata, in this process or one
// before.
func (s *Service) seen() *metadatav1.Position {
	if p := s.meta.View().Position(); p != nil {
		return p
	}
	return s.seenBefore
}

// keepSeen writes down how far the node has followed metadata, until ctx ends.
func (s *Service) keepSeen(ctx context.Context) {
	for s.pause(ctx, seenInterval) {
		if err := s.writeSeen(); err != nil {
			s.log.Warn("cannot write down how far metadata was followed", telemetry.Err(err))
		}
	}
}

// writeSeen is for keepSeen, and for Stop once that has ended.
func (s *Service) writeSeen() error {
	p := s.seen()
	if p.GetRevision() == s.seenKept {
		return nil
	}
	text, err := protojson.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode %s: %w", seenFile, err)
	}
	if err := writeFile(s.fs, s.file(seenFile), text); err != nil {
		return err
	}
	s.seenKept = p.GetRevision()
	return nil
}
