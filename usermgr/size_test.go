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
	}
	if n := unsafe.Sizeof(user{}); n > 64 {
		t.Errorf("a user takes %d bytes, more than 64", n)
	}
}
