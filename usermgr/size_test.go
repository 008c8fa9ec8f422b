package usermgr

import (
	"testing"
	"unsafe"
)

// What every user has, has the sizes that docs/performance.md counts: one word more takes 16 bytes a user.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(session{}); n > 112 {
		t.Errorf("a session takes %d bytes, more than 112", n)
	}
	if unsafe.Sizeof(uintptr(0)) == 8 {
		if n := unsafe.Offsetof(session{}.out); n > 56 {
			t.Errorf("what the message path needs most takes %d bytes of a session", n)
		}
		if user, session := unsafe.Sizeof(userShard{}), unsafe.Sizeof(sessionShard{}); user%64 != 0 || session%64 != 0 {
			t.Errorf("shards take %d and %d bytes: neighbours' locks are on one cache line", user, session)
		}
	}
	if n := unsafe.Sizeof(user{}); n > 64 {
		t.Errorf("a user takes %d bytes, more than 64", n)
	}
}
