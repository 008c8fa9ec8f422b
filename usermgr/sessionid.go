package usermgr

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/google/uuid"
)

// sessionIDs makes session IDs. It reads random bytes for many IDs at a time, because a system call for each would be a
// twentieth of the cost of a logon.
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

// timeOfID returns the time when an ID was made, in Unix nanoseconds, to 256 ns. So a session need not keep the time of
// its logon.
func timeOfID(id uuid.UUID) int64 {
	n := int64(binary.BigEndian.Uint64(id[:8])) // 48 bits of milliseconds, 4 of the version, 12 of 256 ns
	return n>>16*int64(time.Millisecond) + n&0xFFF<<8
}

// isTimeOf reports whether a new ID has the time now. It has not when the system's clock was set back: then IDs go on
// from the last one.
func isTimeOf(id uuid.UUID, now int64) bool {
	late := now - timeOfID(id)
	return late > -int64(time.Millisecond) && late < int64(clockStep)
}
