package engine

import "testing"

// The way to a client counts as open while a datagram has come within 25 s, and the client is let in.
func TestTheWayIsOpenWhileTheClientIsHeard(t *testing.T) {
	e, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn{setup: e.newSetup(nil), lazy: new(lazyFields)}
	now := max(e.clock.Coarse(), 1)
	for name, tc := range map[string]struct {
		heard int64
		state uint32
		open  bool
	}{
		"never":              {0, stateBound, false},
		"now":                {now, stateBound, true},
		"25 s ago":           {e.clock.Coarse() - int64(pathLife), stateBound, true},
		"more than 25 s ago": {e.clock.Coarse() - int64(pathLife) - 1, stateBound, false},
		"before the answer":  {now, stateVerifying, false},
		"closing":            {now, stateClosing, false},
		"half-closed":        {now, stateHalfClosed, false},
	} {
		p := new(udpPath)
		p.heard.Store(tc.heard)
		c.lazy.path = p
		c.state.Store(tc.state)
		if open := c.openWay() != nil; open != tc.open {
			t.Errorf("heard %s: the way is open: %v", name, open)
		}
	}
}
