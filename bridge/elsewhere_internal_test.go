package bridge

import (
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
)

// A message from another server has the options that it had there.
func TestOptionsOfAMessageFromAnotherServer(t *testing.T) {
	if o := optionsOf(0, ""); o != nil {
		t.Errorf("no options become %+v", o)
	}
	for _, want := range []engine.SendOptions{{Policy: engine.SlowLatest, Key: "k"}, {Unreliable: true}, {Policy: engine.SlowDropNewest, Key: "", Unreliable: true}} {
		policy := uint8(want.Policy)
		if want.Unreliable {
			policy |= seam.Unreliable
		}
		if o := optionsOf(policy, want.Key); o.Policy != want.Policy || o.Key != want.Key || o.Unreliable != want.Unreliable {
			t.Errorf("%+v becomes %+v", want, o)
		}
	}
}
