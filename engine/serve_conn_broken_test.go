package engine_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: a net.Conn that panics, or ends its goroutine, ends its connection and nothing else.
func TestAConnectionThatPanicsEndsAlone(t *testing.T) {
	for how, fail := range map[string]func(){"panics": func() { panic("no") }, "exits": runtime.Goexit} {
		for method, wrap := range map[string]func(net.Conn) net.Conn{
			"Read": func(nc net.Conn) net.Conn {
				return &fakeConn{Conn: nc, read: func([]byte) (int, error) { fail(); return 0, nil }}
			},
			"Write": func(nc net.Conn) net.Conn {
				return &fakeConn{Conn: nc, write: func([]byte) (int, error) { fail(); return 0, nil }}
			},
			"Close": func(nc net.Conn) net.Conn { return &closePanics{nc, fail} },
		} {
			t.Run(method+" "+how, func(t *testing.T) {
				e := newEcho(engine.Config{})
				serve(t, e)
				healthy := hand(t, e, nil)
				s := hand(t, e, wrap)
				switch method {
				case "Write":
					s.send(protocol.Message{Type: 1, ID: 1})
				case "Close":
					s.ask(1, 1, "hello")
					_ = s.Conn.Close()
				}
				if method != "Read" || how != "exits" { // there ServeConn's own goroutine ends
					err := receive(t, "the end of ServeConn", s.ended)
					if want := method != "Close"; want != errors.Is(err, protocol.NetworkError) || want != (err != nil) {
						t.Errorf("ServeConn returned %v", err)
					}
				}
				if method != "Close" {
					s.wantEOF()
				}
				eventually(t, "the connection has left", func() bool { return e.Stats().Conns.Open == 1 })
				if e.Stats().HandlerPanics != 1 {
					t.Errorf("%d panics are counted", e.Stats().HandlerPanics)
				}
				healthy.ask(1, 1, "hello")
			})
		}
	}
}

// closePanics is a connection whose Close fails when it has closed.
type closePanics struct {
	net.Conn
	fail func()
}

func (c *closePanics) Close() error {
	_ = c.Conn.Close()
	c.fail()
	return nil
}

// A net.Conn that says that it has read or written more than it can have is broken.
func TestAConnectionThatCountsWrongEnds(t *testing.T) {
	for method, wrap := range map[string]func(net.Conn) net.Conn{
		"Read": func(nc net.Conn) net.Conn {
			return &fakeConn{Conn: nc, read: func(b []byte) (int, error) { return len(b) + 1, nil }}
		},
		"Write": func(nc net.Conn) net.Conn {
			return &fakeConn{Conn: nc, write: func(b []byte) (int, error) { return len(b) + 1, nil }}
		},
	} {
		t.Run(method, func(t *testing.T) {
			e := newEcho(engine.Config{})
			serve(t, e)
			s := hand(t, e, wrap)
			if method == "Write" {
				s.send(protocol.Message{Type: 1, ID: 1})
			}
			if err := receive(t, "the end of ServeConn", s.ended); !errors.Is(err, protocol.NetworkError) {
				t.Errorf("ServeConn returned %v", err)
			}
			s.wantEOF()
			if n := e.Stats().HandlerPanics; n != 0 {
				t.Errorf("%d panics are counted", n)
			}
		})
	}
}

// A connection that is turned away is told so by Write, which may panic.
func TestAConnectionThatPanicsWhenItIsTurnedAway(t *testing.T) {
	e := newEcho(engine.Config{OnAccept: func(context.Context, engine.Incoming) error { return protocol.Errorf(4001, "no") }})
	serve(t, e)
	s := hand(t, e, func(nc net.Conn) net.Conn {
		return &fakeConn{Conn: nc, write: func([]byte) (int, error) { panic("no") }}
	})
	s.wantNotLetIn(4001)
	s.wantEOF()
}

// A stop that gives up on connections whose peers take nothing, and go on sending, ends them on one goroutine. With -race it is seen
// where the readers of these connections do a loop's work besides, since the loop has ended.
func TestAStopGivesUpOnServedConnectionsThatGoOnSending(t *testing.T) {
	e := newEngine(engine.Config{Loops: 1, Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}})
	e.Handle(1, echo)
	e.Handle(2, func(*engine.Conn, *protocol.Message) error { return nil })
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	b := frame(t, protocol.Message{Type: 2})
	for range 300 {
		s := hand(t, e, nil)
		s.ask(1, 1, "here")
		go func() {
			for {
				if _, err := s.Conn.Write(b); err != nil {
					return
				}
			}
		}()
	}
	cancel()
	if err := receive(t, "Run", ran); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
}

// A served connection that was busy once does not keep the memory that it was read into then.
func TestAServedConnectionThatIsIdleAgainIsReadIntoLittle(t *testing.T) {
	e := newEcho(engine.Config{})
	serve(t, e)
	var room atomic.Int32
	s := hand(t, e, func(nc net.Conn) net.Conn {
		return &fakeConn{Conn: nc, read: func(b []byte) (int, error) {
			room.Store(int32(len(b)))
			return nc.Read(b)
		}}
	})
	s.ask(1, 1, "here")
	s.ask(1, 1, strings.Repeat("x", 500<<10))
	eventually(t, "the connection is read into much", func() bool { return room.Load() >= 64<<10 })
	for id := range uint32(20) {
		s.ask(1, 2+id, "beat")
	}
	eventually(t, "the connection is read into little", func() bool { return room.Load() <= 4<<10 })
}

// badAddrs is a connection whose addresses cannot be asked for.
type badAddrs struct {
	net.Conn
	fail func()
}

func (c badAddrs) RemoteAddr() net.Addr { c.fail(); return nil }

// Rule 15: a net.Conn whose address panics is not let in, is closed, and keeps no stop waiting.
func TestAConnectionWhoseAddressPanicsIsNotLetIn(t *testing.T) {
	for how, fail := range map[string]func(){"panics": func() { panic("no") }, "exits": runtime.Goexit} {
		t.Run(how, func(t *testing.T) {
			e := newEcho(engine.Config{})
			r := serve(t, e)
			s := hand(t, e, func(nc net.Conn) net.Conn { return badAddrs{nc, fail} })
			s.wantNotLetIn(0)
			s.wantEOF()
			if n := e.Stats().HandlerPanics; n != 1 {
				t.Errorf("%d panics are counted", n)
			}
			healthy := hand(t, e, nil)
			healthy.ask(1, 1, "hello")
			_ = healthy.Conn.Close()
			healthy.wantNil()
			if err := r.stop(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// timelessConn is a connection that can have no deadline.
type timelessConn struct{ net.Conn }

func (timelessConn) SetDeadline(time.Time) error      { panic("a deadline") }
func (timelessConn) SetReadDeadline(time.Time) error  { panic("a deadline to read") }
func (timelessConn) SetWriteDeadline(time.Time) error { panic("a deadline to write") }

// ServeConn sets no deadline, and leaves one that the program has set, also where the connection goes through OnAccept first.
func TestServeConnSetsNoDeadline(t *testing.T) {
	e := newEcho(engine.Config{OnAccept: func(context.Context, engine.Incoming) error { return nil }})
	serve(t, e)
	s := hand(t, e, func(nc net.Conn) net.Conn { return timelessConn{nc} })
	s.ask(1, 1, "hello")
	_ = s.Conn.Close()
	s.wantNil()
}
