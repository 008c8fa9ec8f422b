//go:build linux

package minimal

import (
	"context"

	"github.com/panjf2000/gnet/v2"
)

// mark makes the loop write what waits for a connection. One task of gnet wakes the loop for all that are marked before it
// runs, which is the cheapest way to wake it. (gnet runs its tasks until there are none, so senders that never pause keep
// the loop from reading; Rollcall avoids that with one more system call.)
func (l *loop) mark(c *Conn) {
	l.mu.Lock()
	l.output = append(l.output, c)
	wake := !l.woken
	l.woken = true
	l.mu.Unlock()
	if wake {
		_ = l.gnet.Execute(context.Background(), gnet.RunnableFunc(l.flush))
	}
}

// flush writes what waits for the connections that are marked, with one Write for each.
func (l *loop) flush(context.Context) error {
	l.mu.Lock()
	output := l.output
	l.output, l.woken = l.spare[:0], false
	l.mu.Unlock()
	for i, c := range output {
		output[i] = nil
		c.flush()
	}
	l.spare = output
	return nil
}

// Broadcast sends a message to many connections. The slice must not change meanwhile. The message is encoded once, and each
// loop writes it to its own connections.
func (s *Server) Broadcast(to []*Conn, typ uint16, body []byte) {
	frame := appendFrame(nil, typ, 0, 0, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.byGnet {
		_ = l.gnet.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			for _, c := range to {
				if c.loop == l {
					c.writeShared(frame, typ)
				}
			}
			return nil
		}))
	}
}

// writeShared writes a frame that others get too, behind what waits. It runs on the loop.
func (c *Conn) writeShared(frame []byte, typ uint16) {
	if c.queued.Load() {
		c.flush()
	}
	if !c.stopped.Load() {
		c.writeFrames(frame, typ, 1)
	}
}
