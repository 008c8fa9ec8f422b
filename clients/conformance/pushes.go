package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

// quiet is how long a scenario looks whether something happens that must not. A longer time would find more; it makes no scenario fail.
const quiet = 300 * time.Millisecond

// pushID is the ID of a scenario's push of this number.
func pushID(n int) uuid.UUID {
	id := uuid.UUID{0x01, 0x97, 0xab, 0xcd, 0xef, 0x01, 0x70, 0x00, 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// pushOf is a push with the ID of this number.
func pushOf(n int, kind byte, confirm bool, name string, metadata fields, content string) *protocol.Message {
	id := pushID(n)
	b := append(id[:], kind, 0)
	if confirm {
		b[17] = 1
	}
	b = binary.BigEndian.AppendUint64(b, 1_760_000_000_000)
	b = append(append(b, byte(len(name))), name...)
	if metadata == nil {
		metadata = fields{}
	}
	b, err := protocol.AppendStringMap(b, metadata)
	check(err)
	return &protocol.Message{Type: protocol.TypePush, Body: append(b, content...)}
}

// wantAck takes the next frame, which must be the PushAck of the push of this number.
func (c *conn) wantAck(n int) {
	what := fmt.Sprintf("the PushAck of %v", pushID(n))
	if m := c.want(protocol.TypePushAck, what); uuid.UUID(m.Body) != pushID(n) {
		c.s.t.failf("got the PushAck of %x, want %s", m.Body, what)
	}
}

// handed takes the next event, which must be the push of this number.
func (t *trial) handed(n int) event {
	e := t.nextEvent("push")
	if e.ID != pushID(n).String() {
		t.failf("got %s, want the push %v", &e, pushID(n))
	}
	return e
}

// same requires that two maps are the same.
func (t *trial) same(what string, got, want fields) {
	if !maps.Equal(got, want) {
		t.failf("got %s %v, want %v", what, got, want)
	}
}

// sameList requires that two lists are the same.
func (t *trial) sameList(what string, got, want []string) {
	if !slices.Equal(got, want) {
		t.failf("got %s %q, want %q", what, got, want)
	}
}

// noMoreStates requires that no change of state was told that the scenario has not looked at.
func (t *trial) noMoreStates() {
	for _, e := range t.p.events.all() {
		if e.Event == "state" {
			t.failf("got %s, want no other state", &e)
		}
	}
}
