package engine

import "github.com/rollcall-go/rollcall/protocol"

// inFlight reports whether a message counts towards MaxRequests.
func (c *Conn) inFlight(m *protocol.Message) bool {
	return m.ID != 0 && !m.IsReply() && m.Type < protocol.FirstSystemType && !c.engine.handlers.relays(m)
}

// requested counts a message that is a request of the application's. It reports whether it was one too many, and then has
// answered it. It runs on the loop.
func (c *Conn) requested(m *protocol.Message) (refused bool) {
	if !c.inFlight(m) {
		return false
	}
	c.mu.Lock()
	u := c.used()
	if refused = u.requests >= c.engine.cfg.MaxRequests; !refused {
		if u.inFlight == nil {
			u.inFlight = make(map[uint32]int)
		}
		u.inFlight[m.ID]++ // a client may use an ID twice
		u.requests++
	}
	c.mu.Unlock()
	if refused {
		_ = c.sendReply(m, protocol.FlagReply|protocol.FlagError, protocol.AppendClose(nil,
			&protocol.CloseError{Code: protocol.Refused, Text: "too many requests wait for their answers"}))
	}
	return refused
}

// reply sends the answer to m, whose request is in flight no more.
func (c *Conn) reply(m *protocol.Message, flags protocol.Flags, body []byte) error {
	id, counts := m.ID, c.engine.limits&limitRequests != 0 && c.inFlight(m) // m may be the loop's, and gone when a write has failed
	err := c.sendReply(m, flags, body)
	if err == nil && counts {
		c.mu.Lock()
		if u := c.used(); u.inFlight[id] > 0 {
			u.requests--
			if u.inFlight[id]--; u.inFlight[id] == 0 {
				delete(u.inFlight, id)
			}
		}
		c.mu.Unlock()
	}
	return err
}
