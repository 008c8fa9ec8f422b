package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// A peer whose kernel has not taken all that is under way has not taken the notice, when the stop gives up on it. Only
// Linux's says what is under way.
func TestStopReportTellsWhoTookNothing(t *testing.T) {
	e := newQuiet(engine.Config{Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}})
	g := newGate(t, e)
	r := run(t, e)
	_, b := g.enterSlow(t, r.addr)
	for n := range 200 << 10 / chunk { // more than the peer's kernel takes, and less than ours
		if err := b.conn.SendMessage(numbered(n), nil); err != nil {
			t.Fatal(err)
		}
	}
	b.wantCounts(t, 200<<10/chunk, 0)
	if err := r.stop(t); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
	if got := e.Stats().Stop; got.Forced != 1 || got.Told != 0 {
		t.Errorf("the report is %v", got)
	}
}
