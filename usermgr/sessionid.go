package usermgr

import (
	"bufio"
	"crypto/rand"
	"sync"

	"github.com/google/uuid"
)

// sessionIDs makes session IDs. It reads the system's randomness for many at a time: a system call for each is a
// twentieth of what a logon costs.
type sessionIDs struct {
	mu     sync.Mutex
	random *bufio.Reader
}

func (s *sessionIDs) init() { s.random = bufio.NewReaderSize(rand.Reader, 1024) }

func (s *sessionIDs) next() (uuid.UUID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uuid.NewV7FromReader(s.random)
}
