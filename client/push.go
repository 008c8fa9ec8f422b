package client

import (
	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// pushed runs OnPush, and acknowledges a push with Confirm. It runs on the handlers' goroutine.
func (c *Client) pushed(p *protocol.PushMessage) {
	id, confirm := p.ID, p.Confirm // OnPush may keep p, and change it
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

// acknowledge sends a PushAck on the present connection: the server knows a push by its ID, on any connection. Without
// a connection the PushAck is kept for the next one. If it is lost the server may push again.
func (c *Client) acknowledge(id uuid.UUID) {
	cn, err := c.current()
	if err == nil {
		err = cn.send(c.ctx, &protocol.Message{Type: protocol.TypePushAck, Body: system.AppendPushAck(nil, id)})
	}
	if err == nil {
		return
	}
	if len(c.unsentAcks) == rememberedPushes {
		c.unsentAcks = c.unsentAcks[1:]
	}
	c.unsentAcks = append(c.unsentAcks, id)
}

// acknowledgeLate sends the acknowledgements that were kept. It runs on the handlers' goroutine.
func (c *Client) acknowledgeLate() {
	acks := c.unsentAcks
	c.unsentAcks = nil
	for _, id := range acks {
		c.acknowledge(id)
	}
}

// rememberedPushes is how many pushes with Confirm a client remembers; docs/protocol.md, Pushes, has the number.
const rememberedPushes = 1024

// seenPushes has the IDs of the last pushes with Confirm that OnPush has handled.
type seenPushes struct {
	known  map[uuid.UUID]struct{}
	ring   []uuid.UUID // the IDs; when it is full the next one replaces oldest
	oldest int
}

func (s *seenPushes) has(id uuid.UUID) bool {
	_, ok := s.known[id]
	return ok
}

// add remembers a new ID, and forgets the oldest if there are too many.
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
