package storagenode

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// seenFile holds how far the node has followed metadata: what a controller whose
// store was set back does not know (C11).
const seenFile = "metadata-seen.json"

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

// writeSeen writes down how far the node has followed metadata. It is for keep,
// and for Stop once that has ended.
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
