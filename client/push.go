package client

import (
	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

// pushed runs OnPush, and acknowledges what wants to be. It belongs to the handlers' goroutine.
func (c *Client) pushed(p *protocol.PushMessage) {
	id, confirm := p.ID, p.Confirm // p is OnPush's to keep, and to change
	if !c.pushes.has(id) {
		c.cfg.OnPush(c, p)
		if confirm {
			c.pushes.add(id)
		}
	}
	if confirm {
		c.acknowledge(id)
	}
}

// acknowledge sends a PushAck on the connection that there is now: the server knows a push by its ID, whichever
// connection it went to. Without a connection it is kept for the next one. If it is lost the server may push again.
func (c *Client) acknowledge(id uuid.UUID) {
	cn, err := c.current()
	if err == nil {
		err = cn.send(c.ctx, &protocol.Message{Type: protocol.TypePushAck, Body: protocol.AppendPushAck(nil, id)})
	}
	if err == nil {
		return
	}
	if len(c.unsentAcks) == rememberedPushes {
		c.unsentAcks = c.unsentAcks[1:]
	}
	c.unsentAcks = append(c.unsentAcks, id)
}

// acknowledgeLate sends what was kept. It belongs to the handlers' goroutine.
func (c *Client) acknowledgeLate() {
	acks := c.unsentAcks
	c.unsentAcks = nil
	for _, id := range acks {
		c.acknowledge(id)
	}
}

// rememberedPushes is how many pushes with Confirm a client knows again; docs/protocol.md, Pushes, names the number.
const rememberedPushes = 1024

// seenPushes has the IDs of the last pushes that OnPush has dealt with and that were to be confirmed.
type seenPushes struct {
	known  map[uuid.UUID]struct{}
	ring   []uuid.UUID // those that are known; once it is full, oldest is where the next goes
	oldest int
}

func (s *seenPushes) has(id uuid.UUID) bool {
	_, ok := s.known[id]
	return ok
}

// add remembers an ID that it does not have, and forgets the oldest if there are too many.
func (s *seenPushes) add(id uuid.UUID) {
	if s.known == nil {
		s.known = make(map[uuid.UUID]struct{})
	}
	s.known[id] = struct{}{}
	if len(s.ring) < rememberedPushes {
		s.ring = append(s.ring, id)
		return
	}
	delete(s.known, s.ring[s.oldest])
	s.ring[s.oldest] = id
	s.oldest = (s.oldest + 1) % rememberedPushes
}
