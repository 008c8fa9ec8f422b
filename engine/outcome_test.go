package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A kick is to know how each connection ended: told, closed by its peer, or by force after the deadline.
func TestWhenClosedTellsHowTheConnectionEnded(t *testing.T) {
	eachTransportThat(t, func(tr *transport) bool { return !strings.Contains(tr.name, "tls over") }, whenClosedTellsHowTheConnectionEnded)
}

func whenClosedTellsHowTheConnectionEnded(t *testing.T) {
	for _, tc := range []struct {
		name  string
		want  protocol.CloseOutcome
		close func(t *testing.T, c *engine.Conn, p *peer)
	}{
		{"a peer that takes the notice", protocol.OutcomeTold, func(t *testing.T, c *engine.Conn, p *peer) {
			c.Close(protocol.Errorf(protocol.KickedOut, "out"))
			p.wantClose(protocol.KickedOut)
			p.Close()
		}},
		{"a peer that takes the notice and never ends its side", protocol.OutcomeTold, func(t *testing.T, c *engine.Conn, p *peer) {
			c.Close(protocol.Errorf(protocol.KickedOut, "out"))
			p.wantClose(protocol.KickedOut)
		}},
		{"a peer that leaves", protocol.OutcomeClosedByPeer, func(t *testing.T, c *engine.Conn, p *peer) { p.Close() }},
		{"a peer that never reads", protocol.OutcomeForced, func(t *testing.T, c *engine.Conn, p *peer) {
			for range 40 {
				if err := c.Send(1, make([]byte, 512<<10)); err != nil {
					t.Fatal(err)
				}
			}
			c.Close(protocol.Errorf(protocol.KickedOut, "out"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			timeout := 500 * time.Millisecond
			if tc.want == protocol.OutcomeTold { // in which the client takes the notice
				timeout = time.Second
			}
			e := newEngine(engine.Config{Timeouts: engine.Timeouts{Close: timeout}, Limits: engine.Limits{MaxOutbound: 64 << 20}})
			conns := make(chan *engine.Conn, 1)
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { conns <- c; return nil })
			p := dial(t, serve(t, e).addr)
			p.send(protocol.Message{Type: 1})
			c := <-conns
			outcome := make(chan protocol.CloseOutcome, 2)
			engine.ControlOf(c).WhenClosed(func(o protocol.CloseOutcome) { outcome <- o })
			tc.close(t, c, p)
			if got := <-outcome; got != tc.want {
				t.Errorf("the connection was %v, want %v", got, tc.want)
			}
			engine.ControlOf(c).WhenClosed(func(o protocol.CloseOutcome) { outcome <- o })
			if got := <-outcome; got != tc.want {
				t.Errorf("asked afterwards it was %v, want %v", got, tc.want)
			}
		})
	}
}
