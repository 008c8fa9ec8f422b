//go:build !race

package push_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/push"
)

// A push is encoded by the pushers that need that, not once more to see whether it is one: with none there is nothing to
// allocate, and no content to copy.
func TestServicePushAllocatesNothing(t *testing.T) {
	service := push.New()
	m := push.Binary(make([]byte, 1<<20))
	m.Metadata = map[string]string{"room": "42"}
	to := push.ToEveryone()
	if n := testing.AllocsPerRun(100, func() {
		if r := service.Push(t.Context(), to, m); r.Err != nil {
			t.Fatal(r.Err)
		}
	}); n != 0 {
		t.Errorf("Push allocates %v times", n)
	}
}
