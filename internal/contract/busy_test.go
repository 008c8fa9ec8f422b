package contract

import (
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// On a busy machine a goroutine may stand still anywhere. What is then late is no violation, and what is wrong still is.

// Rule 10: a call that has done all of its work, and has not returned yet, is waited for.
func TestCheckWaitsForACallThatIsAboutToReturn(t *testing.T) {
	m := new(Manager)
	m.log.byConn = make(map[uint64]*connection)
	a := &ask{what: endConn, conn: 1, code: protocol.ClientClosed}
	m.log.begin(&a.span, func() { m.log.asks = append(m.log.asks, a) })
	go func() {
		testkit.BeSlow()
		m.log.end(&a.span, nil)
	}()
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// Rule 10: a token is revoked from some moment of the kick on, which may be the last.
func TestARevocationMayBeginAtTheEndOfAKick(t *testing.T) {
	const kick = online + ended + "+revoke a 2002; pass; -revoke a 2002; "
	for _, s := range []struct {
		name, story string
		rule        int
	}{
		{"a minute after its beginning", kick + "log 2 a s1; out 2 2003", 0},
		{"a minute after its end", kick + "pass; log 2 a s1; out 2 2003", 26},
	} {
		t.Run(s.name, func(t *testing.T) {
			var err error
			synctest.Test(t, func(*testing.T) {
				m := told(&Manager{}, s.story)
				m.FakeTime = false // where it is true no kick takes time
				err = m.Check()
			})
			judged(t, s.rule, err)
		})
	}
}
