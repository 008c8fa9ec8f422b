package bridge_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// countedLinks is a user manager that counts how often the bridge looks at one of its links.
type countedLinks struct {
	*usermgr.Manager
	looks atomic.Int64
}

type countedLink struct {
	usermgr.Link
	looks *atomic.Int64
}

func (m *countedLinks) Links(userID string) (all []usermgr.Link) {
	for _, l := range m.Manager.Links(userID) {
		all = append(all, countedLink{l, &m.looks})
	}
	return all
}

func (l countedLink) Address() usermgr.Address {
	l.looks.Add(1)
	return l.Link.Address()
}

// Reach calls once for each session, and its work grows with their number, not with its square, also while one is closing.
func TestReachAsksEachSessionOnceWhileOneCloses(t *testing.T) {
	const n = 40
	m := &countedLinks{Manager: testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, Devices: usermgr.Devices{MaxSessions: 2 * n}}))}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s := newServerFor(t, options{}, m.Manager, m).start()
	looks := func(sessions int) int64 {
		for i := len(s.clients); i < sessions; i++ {
			s.logOn("ann")
		}
		asked := make(map[*engine.Conn]int)
		m.looks.Store(0)
		s.bridge.Reach("ann", func(c *engine.Conn) error {
			asked[c]++
			if len(asked) == sessions/2 {
				return engine.ErrClosed
			}
			return nil
		})
		if len(asked) != sessions {
			t.Errorf("%d of %d sessions were asked", len(asked), sessions)
		}
		for c, times := range asked {
			if times != 1 {
				t.Errorf("the connection %d was asked %d times", c.ID(), times)
			}
		}
		return m.looks.Load()
	}
	once, twice := looks(n), looks(2*n)
	t.Logf("%d looks at the links of %d sessions, %d at those of %d", once, n, twice, 2*n)
	if float64(twice) > 2.2*float64(once) {
		t.Errorf("twice the sessions take %d looks, after %d", twice, once)
	}
}

// A session that has taken over between the look and the send is asked, too: all who come while others close.
func TestReachAsksThoseWhoHaveComeMeanwhile(t *testing.T) {
	s := serve(t, options{})
	s.logOn("ann")
	var asked []uint64
	s.bridge.Reach("ann", func(c *engine.Conn) error {
		asked = append(asked, c.ID())
		if len(asked) == 3 {
			return nil
		}
		s.logOn("ann")
		return engine.ErrClosed
	})
	if len(asked) != 3 || asked[0] == asked[1] || asked[1] == asked[2] {
		t.Errorf("the connections %s were asked, want three", fmt.Sprint(asked))
	}
}
