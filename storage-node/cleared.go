package storagenode

import (
	"maps"

	"moldau.dev/services/topicid"
)

// maxDeletedTopics is how many one heartbeat may name.
const maxDeletedTopics = 1000

// deletedTopics are those that metadata still names as deleted and of which the
// node holds nothing any more: once all nodes have said so it forgets them.
func (s *Service) deletedTopics() (gone [][]byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id := range s.cleared {
		if len(gone) == maxDeletedTopics {
			break
		}
		gone = append(gone, id[:])
	}
	return gone
}

func (s *Service) isCleared(id topicid.ID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cleared[id]
}

func (s *Service) noteCleared(id topicid.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleared[id] = true
}

// forgetCleared forgets what metadata no longer names as deleted.
func (s *Service) forgetCleared(deleted map[topicid.ID]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.cleared, func(id topicid.ID, _ bool) bool {
		_, still := deleted[id]
		return !still
	})
}
