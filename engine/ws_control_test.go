package engine_test

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// until reads frames until something is true.
func (w *webConn) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	_ = w.SetDeadline(time.Now().Add(patience))
	for !ok() {
		more, err := w.take()
		if err == nil && more {
			err = w.more()
		}
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// pongs returns the payloads of the Pongs that have come.
func (w *webConn) pongs() (all []string) {
	for _, f := range w.got {
		if f.op == 10 {
			all = append(all, f.payload)
		}
	}
	return all
}

// shortPings returns an engine that pings each half second.
func shortPings(cfg engine.Config, page time.Duration) *engine.Engine {
	cfg.Listeners = []engine.Listener{{WebSocket: &engine.WebSocket{PingInterval: 500 * time.Millisecond, PageTimeout: page}}}
	return newEcho(cfg)
}

// dialWeb dials an engine that speaks WebSocket without TLS.
func dialWeb(t testing.TB, r *running) *peer {
	t.Helper()
	return newPeer(t, upgraded(t, bare(t, r.addr, nil), r.addr))
}

// RFC 6455 section 5.5.3: of the Pings of a read the latest is answered, with its payload, behind the answers to the read's
// messages. After our Close none is.
func TestTheLatestPingIsAnsweredBehindTheMessages(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		e.Handle(5, func(c *engine.Conn, _ *protocol.Message) error { c.Close(protocol.KickedOut); return nil })
		r := serve(t, e)
		p := dial(t, r.addr)
		w := p.web()
		w.noted = true
		p.ask(1, 1, "")
		for _, payload := range []string{"", "short", strings.Repeat("\xFE", 125)} {
			w.got = nil
			w.write(t, wsFrame(9, true, []byte("first")), wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 2})), wsFrame(9, true, []byte(payload)),
				wsFrame(10, true, []byte("unsolicited")), wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 3})))
			w.until(t, "a Pong", func() bool { return len(w.pongs()) > 0 })
			if first := w.got[0]; first.op != 2 {
				t.Errorf("the first frame is %+v, want an answer to a message", first)
			}
			for id := range uint32(2) {
				if m := p.read(); m.ID != id+2 {
					t.Fatalf("got %v, want the reply to %d", m, id+2)
				}
			}
			p.ask(1, 4, "")
			if got := w.pongs(); !slices.Equal(got, []string{payload}) {
				t.Errorf("the Pongs are %q, want %q alone", got, payload)
			}
		}
		w.got = nil
		w.write(t, wsFrame(2, true, frame(t, protocol.Message{Type: 5})), wsFrame(9, true, []byte("late")))
		p.wantClose(protocol.KickedOut)
		if got := w.pongs(); len(got) > 0 {
			t.Errorf("after our Close came the Pongs %q", got)
		}
	})
}

// A Ping within a message of the client's is answered at once: the rest of the message may be long in coming.
func TestAPingWithinAMessageIsAnswered(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		p := dial(t, serve(t, newEcho(engine.Config{})).addr)
		w := p.web()
		w.noted = true
		b := frame(t, protocol.Message{Type: 1, ID: 1, Body: []byte("message")})
		w.write(t, wsFrame(2, false, b[:9]), wsFrame(9, true, []byte("within")))
		w.until(t, "a Pong", func() bool { return len(w.pongs()) == 1 })
		w.write(t, wsFrame(0, true, b[9:]))
		if m := p.read(); string(m.Body) != "message" {
			t.Errorf("got %v", m)
		}
	})
}

// Before a logon no more than 1 KiB of control frames is answered; afterwards they are again.
func TestFewPingsAreAnsweredBeforeTheLogon(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		newGate(t, e)
		p := dial(t, serve(t, e).addr)
		w := p.web()
		w.noted = true
		ping := func(i int) []byte { return wsFrame(9, true, fmt.Appendf(nil, "%0125d", i)) } // 131 bytes
		const answered = 1024 / 131
		for i := range answered {
			w.write(t, ping(i))
			w.until(t, "a Pong", func() bool { return len(w.pongs()) == i+1 })
		}
		for i := range 3 {
			w.write(t, ping(answered+i))
		}
		p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
		p.read()
		if n := len(w.pongs()); n != answered {
			t.Errorf("%d Pings were answered before the logon, want %d", n, answered)
		}
		w.write(t, ping(99))
		w.until(t, "a Pong after the logon", func() bool { return len(w.pongs()) == answered+1 })
	})
}

// Rule 15: a client may send 8 KiB of control frames in a PingInterval, and as many messages as it likes besides.
func TestAFloodOfControlFramesIsRateLimited(t *testing.T) {
	for _, op := range []byte{9, 10} {
		t.Run(fmt.Sprint("opcode ", op), func(t *testing.T) {
			eachWebSocket(t, func(t *testing.T) {
				e := newEcho(engine.Config{})
				g := newGate(t, e)
				p, b := g.enter(t, serve(t, e).addr)
				p.read()
				one := wsFrame(op, true, make([]byte, 125))
				p.web().write(t, bytes.Repeat(one, 8<<10/len(one)))
				p.ask(1, 2, "")
				flood := bytes.Repeat(one, 200) // two PingIntervals' worth, and more
				go func() { _, _ = p.web().Conn.Write(flood) }()
				p.wantClose(protocol.RateLimited)
				p.web().wantStatus(t, 1013, ourReason(protocol.RateLimited))
				_ = p.Close()
				b.wantEnd(t, protocol.RateLimited)
			})
		})
	}
}

// Rule 15: control frames count towards MaxMessageRate.
func TestControlFramesCountAsMessages(t *testing.T) {
	const burst = 100
	for _, op := range []byte{9, 10} {
		t.Run(fmt.Sprint("opcode ", op), func(t *testing.T) {
			eachWebSocket(t, func(t *testing.T) {
				r := serve(t, newEcho(engine.Config{Limits: engine.Limits{MaxMessageRate: 1, MessageBurst: burst}}))
				p := dial(t, r.addr)
				p.ask(1, 1, "")
				p.web().write(t, bytes.Repeat(wsFrame(op, true, nil), burst-10))
				p.ask(1, 2, "")
				go func() { _, _ = p.web().Conn.Write(bytes.Repeat(wsFrame(op, true, nil), 2*burst)) }()
				p.wantClose(protocol.RateLimited)
			})
		})
	}
}

// Rule 15: a client that sends nothing but empty data frames is closed, as one of TLS with empty records is.
func TestEmptyFramesWithoutEnd(t *testing.T) {
	empty := func(n int) []byte { return bytes.Repeat(wsFrame(2, true, nil), n) } // 6 bytes each
	fragments := func(n int) []byte { return append(wsFrame(2, false, nil), bytes.Repeat(wsFrame(0, false, nil), n)...) }
	eachWebSocket(t, func(t *testing.T) {
		for name, of := range map[string]func(int) []byte{"messages": empty, "fragments": fragments} {
			t.Run(name, func(t *testing.T) {
				e := newEcho(engine.Config{})
				g := newGate(t, e)
				p, b := g.enter(t, serve(t, e).addr)
				p.read()
				if name == "messages" {
					for id := range uint32(3) { // a message between them makes them good
						p.web().write(t, empty(32<<10/6-1))
						p.ask(1, id+2, "")
						p.ask(1, id+2, "") // in a read without an empty frame
					}
				}
				go func() { _, _ = p.web().Conn.Write(of(64 << 10 / 6)) }()
				p.wantClose(protocol.InvalidMessage)
				p.web().wantStatus(t, 1002, ourReason(protocol.InvalidMessage)+": ")
				_ = p.Close()
				b.wantEnd(t, protocol.InvalidMessage)
			})
		}
	})
}

// The server pings a client from which nothing comes, and the browser's Pong is a sign of life (rule 8).
func TestTheServerPingsASilentClient(t *testing.T) {
	t.Parallel() // it mostly waits
	e := shortPings(engine.Config{}, 0)
	g := newGate(t, e)
	p, b := g.enterOn(t, dialWeb(t, serve(t, e)))
	p.read()
	before := b.beats.Load()
	w := p.web()
	w.until(t, "Pings", func() bool { return w.pings >= 3 })
	eventually(t, "signs of life", func() bool { return b.beats.Load() >= before+3 })
	p.ask(1, 2, "")
}

// Listeners may have intervals that are far apart: the longer one has many looks, and no connection suffers.
func TestPingIntervalsFarApart(t *testing.T) {
	t.Parallel() // it mostly waits
	e := newEcho(engine.Config{Listeners: []engine.Listener{{WebSocket: &engine.WebSocket{PingInterval: 64 * time.Second}},
		{WebSocket: &engine.WebSocket{PingInterval: 500 * time.Millisecond}}}, Loops: 1})
	r := serve(t, e)
	seldom, often := dialWeb(t, r), newPeer(t, upgraded(t, bare(t, e.Addrs()[1].String(), nil), "localhost"))
	seldom.ask(1, 1, "")
	often.ask(1, 1, "")
	w := often.web()
	w.until(t, "Pings", func() bool { return w.pings >= 2 })
	seldom.ask(1, 2, "")
	if n := seldom.web().pings; n != 0 {
		t.Errorf("the one with the longer interval got %d Pings", n)
	}
}

// WebSocket.PageTimeout: a browser that answers Pings, and has a page that sends nothing, is not alive.
func TestAPageThatSendsNothingIsEnded(t *testing.T) {
	t.Parallel() // it mostly waits
	e := shortPings(engine.Config{}, 1500*time.Millisecond)
	g := newGate(t, e)
	p, b := g.enterOn(t, dialWeb(t, serve(t, e)))
	p.read()
	w := p.web()
	for range 4 { // its Heartbeats are messages
		pings := w.pings
		w.until(t, "a Ping", func() bool { return w.pings > pings })
		p.send(protocol.Message{Type: protocol.TypeHeartbeat})
	}
	began := time.Now()
	p.wantClose(protocol.HeartbeatTimeout)
	if took := time.Since(began); took < 750*time.Millisecond {
		t.Errorf("the page was given up on after %v", took)
	}
	w.wantStatus(t, 1013, ourReason(protocol.HeartbeatTimeout)+": ")
	if w.pings < 5 {
		t.Errorf("there were %d Pings", w.pings)
	}
	_ = p.Close()
	b.wantEnd(t, protocol.HeartbeatTimeout)
}

// serveLines runs an engine whose WebSocket speaks protocol.Line, and that sends every text back.
func serveLines(t testing.TB) (r *running) {
	t.Helper()
	e := newEngine(engine.Config{Listeners: []engine.Listener{{Codec: protocol.Line}}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		if m.Type == 1 {
			return c.Send(1, m.Body)
		}
		return nil
	})
	return serve(t, e)
}

// A client of protocol.Line sends a line in each message. What ends a line is optional there, however a message is fragmented.
func TestATextMessageIsALine(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		w := dial(t, serveLines(t).addr).web()
		w.op, w.noted = 1, true
		in := bufio.NewReader(w)
		w.write(t, wsFrame(1, true, []byte("ann")))
		for _, c := range []struct {
			raw  []byte
			want []string
		}{
			{wsFrame(1, true, []byte("plain")), []string{"plain"}},
			{wsFrame(1, true, []byte("with a line feed\n")), []string{"with a line feed"}},
			{wsFrame(1, true, []byte("with both\r\n")), []string{"with both"}},
			{slices.Concat(wsFrame(1, false, []byte("in two, \xC3")), wsFrame(9, true, nil), wsFrame(0, true, []byte("\xA9"))), []string{"in two, é"}},
			{slices.Concat(wsFrame(1, false, []byte("in two\r")), wsFrame(0, true, []byte("\n"))), []string{"in two"}},
			{slices.Concat(wsFrame(1, false, []byte("the end is empty")), wsFrame(0, true, nil)), []string{"the end is empty"}},
			{slices.Concat(wsFrame(1, true, []byte("one")), wsFrame(1, true, []byte("two")), wsFrame(1, true, []byte("three\n"))), []string{"one", "two", "three"}},
			{slices.Concat(wsFrame(1, true, nil), wsFrame(1, true, nil), wsFrame(1, true, []byte("behind two Heartbeats"))), []string{"behind two Heartbeats"}},
			{wsFrame(1, true, []byte(strings.Repeat("long ", 20000))), []string{strings.Repeat("long ", 20000)}},
		} {
			for _, size := range []int{len(c.raw), 1 + len(c.raw)/2, max(1, len(c.raw)/50)} {
				w.got = nil
				for rest := c.raw; len(rest) > 0; {
					n := min(size, len(rest))
					w.write(t, rest[:n])
					rest = rest[n:]
				}
				for _, want := range c.want {
					_ = w.SetReadDeadline(time.Now().Add(patience))
					if got, err := in.ReadString('\n'); strings.TrimRight(got, "\r\n") != want || err != nil {
						t.Fatalf("got %q, %v, want %q", got, err, want)
					}
				}
				text := ""
				for _, f := range w.got {
					if f.op > 1 {
						continue
					}
					if text += f.payload; f.fin && !strings.HasSuffix(text, "\n") {
						t.Errorf("a message of the server ends with %q", text[len(text)-1:])
					}
				}
			}
		}
	})
}

// A client of protocol.Line that sends anything but a line in a message is closed: first in the words of the codec, and then
// with a code.
func TestWhatIsNoLineOfTextEndsTheWebSocket(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		r := serveLines(t)
		for name, c := range map[string]struct {
			status int
			raw    []byte
		}{
			"two lines":                     {1007, wsFrame(1, true, []byte("one\ntwo"))},
			"two line feeds":                {1007, wsFrame(1, true, []byte("one\n\n"))},
			"a line feed, then a fragment":  {1007, append(wsFrame(1, false, []byte("one\n")), wsFrame(0, false, []byte("x"))...)},
			"no UTF-8":                      {1007, wsFrame(1, true, []byte("a\xFFb"))},
			"no UTF-8 in a first fragment":  {1007, wsFrame(1, false, []byte("a\xED\xA0"))},
			"the end within a character":    {1007, wsFrame(1, true, []byte("\xE2\x82"))},
			"a character over two messages": {1007, append(wsFrame(1, true, []byte("\xE2\x82")), wsFrame(1, true, []byte("\xAC"))...)},
			"a binary message":              {1003, wsFrame(2, true, []byte("one"))},
			"a reserved bit":                {1002, append([]byte{0xC1}, wsFrame(1, true, []byte("x"))[1:]...)},
		} {
			t.Run(name, func(t *testing.T) {
				w := dial(t, r.addr).web()
				w.op = 1
				in := bufio.NewReader(w)
				w.write(t, wsFrame(1, true, []byte("ann")), wsFrame(1, true, []byte("hello")))
				_ = w.SetReadDeadline(time.Now().Add(patience))
				if got, err := in.ReadString('\n'); strings.TrimRight(got, "\r\n") != "hello" {
					t.Fatalf("got %q, %v", got, err)
				}
				w.write(t, c.raw)
				last := ""
				for {
					got, err := in.ReadString('\n')
					if err != nil {
						if got != "" || err.Error() != "EOF" {
							t.Errorf("the end is %q, %v", got, err)
						}
						break
					}
					last = got
				}
				if !strings.HasPrefix(last, "* ") {
					t.Errorf("the last line is %q", last)
				}
				w.wantStatus(t, c.status, ourReason(protocol.InvalidMessage)+": ")
			})
		}
	})
}
