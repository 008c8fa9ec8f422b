package browsertest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func hexOf(t *testing.T, m *protocol.Message) string {
	t.Helper()
	return hex.EncodeToString(frame(t, nil, m))
}

// frame appends a message in Rollcall's own format.
func frame(t *testing.T, dst []byte, m *protocol.Message) []byte {
	t.Helper()
	dst, err := protocol.Binary.Append(dst, m)
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

// frames returns the messages in one of the WebSocket's, which must have whole ones.
func frames(t *testing.T, b []byte) (all []*protocol.Message) {
	t.Helper()
	for len(b) > 0 {
		m := new(protocol.Message)
		n, _, err := protocol.Binary.Decode(b, m, protocol.DecodeOptions{})
		if n == 0 || err != nil {
			t.Fatalf("a message of the server's ends in %x, which is no whole frame: %v", b[:min(len(b), 100)], err)
		}
		all, b = append(all, m), b[n:]
	}
	return all
}

// frames returns the messages in what must be a binary message of the WebSocket.
func (e event) frames(t *testing.T) []*protocol.Message {
	t.Helper()
	b, err := hex.DecodeString(e.Text)
	if e.What != "message" || err != nil {
		t.Fatalf("%+v is no binary message: %v", e, err)
	}
	return frames(t, b)
}

// Rules 12 and 14, and docs/protocol.md, WebSocket: a page's messages are one stream, cut anywhere; the server's messages have whole
// frames. 20,000 requests are answered, in order, with their bytes, also those just before a Close.
func TestEchoes(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		p, s, at, url := stand(t, scheme, rollcall.Config{})
		p.connect(url, "alice")
		const requests = 20_000
		rnd := rand.New(rand.NewPCG(20, 26))
		var sent []byte
		var bodies [][]byte
		for i := range requests {
			size := rnd.IntN(200)
			switch i {
			case 1_000, 12_000:
				size = 70_000
			case 5_000:
				size = 300_000
			}
			body := make([]byte, size)
			for at := range body {
				body[at] = byte(rnd.Uint32())
			}
			bodies = append(bodies, body)
			sent = frame(t, sent, &protocol.Message{Type: typeEcho, ID: uint32(i + 2), Body: body})
		}
		sent = frame(t, sent, &protocol.Message{Type: protocol.TypeClose})
		var cuts []int
		for left := len(sent); left > 0; {
			n := min(1+rnd.IntN(600), left)
			cuts = append(cuts, n)
			left -= n
		}
		at.to <- sent
		p.do("exchange('/passed', %s)", testkit.Must(json.Marshal(cuts)))
		p.awaitOr("events.some(e => e.what === 'close')", "received.sizes.length + ' messages ' + JSON.stringify(events)")
		p.do("received.pass('/passed')")
		got := testkit.Receive(t, "what the page has received", at.from)
		n := 0
		sizes := value[[]int](p, "received.sizes")
		for _, size := range sizes {
			for _, m := range frames(t, got[:size]) {
				switch {
				case m.Type == protocol.TypeHeartbeat && m.ID == 0: // a question waits behind a frame that is not whole
				case n == requests:
					t.Fatalf("after %d answers comes %+v", n, m)
				case m.Type != typeEcho || m.Flags != protocol.FlagReply || m.ID != uint32(n+2) || !bytes.Equal(m.Body, bodies[n]):
					t.Fatalf("in place of answer %d to %.100x comes type %d, flags %d, ID %d, %.100x", n+2, bodies[n], m.Type, m.Flags, m.ID, m.Body)
				default:
					n++
				}
			}
			got = got[size:]
		}
		if n != requests {
			t.Fatalf("%d answers have come, and %d are to", n, requests)
		}
		if e := s.wantEnd(t, "the session", protocol.ClientClosed); e.In.Messages != requests || e.Out.Messages != requests {
			t.Errorf("the server counts %+v", e.Counters)
		}
		t.Logf("%d frames came in %d messages", requests, len(sizes))
	})
}

// Rules 10, 14 and 16, and docs/protocol.md, WebSocket: the end is told by Rollcall's own Close, and then by a Close of WebSocket with a
// code that browsers let through, and the same in words.
func TestHowTheServerEnds(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		kick := func(code protocol.CloseCode, text string) func(*tab, *server) {
			return func(p *tab, s *server) {
				if _, err := s.Users.Kick("alice", &usermgr.KickOptions{Code: code, Text: text}); err != nil {
					t.Fatal(err)
				}
			}
		}
		p, s, _, url := stand(t, scheme, rollcall.Config{})
		for _, c := range []struct {
			do     func(*tab, *server)
			code   protocol.CloseCode
			text   string
			web    int
			reason string
		}{
			{kick(0, "enough"), protocol.KickedOut, "enough", 1008, "2002 KickedOut: enough"},
			{kick(0, "schöne Grüße, 再见"), protocol.KickedOut, "schöne Grüße, 再见", 1008, "2002 KickedOut: schöne Grüße, 再见"},
			{kick(3001, "later"), 3001, "later", 3001, "3001: later"},
			{kick(4001, ""), 4001, "", 4001, "4001"},
			{kick(protocol.InternalError, "oh"), protocol.InternalError, "oh", 1011, "1008 InternalError: oh"},
			{kick(protocol.RateLimited, "slowly"), protocol.RateLimited, "slowly", 1013, "1007 RateLimited: slowly"},
			{func(_ *tab, s *server) { s.Stop() }, protocol.ServerStopping, "the server is stopping", 1001,
				"1004 ServerStopping: the server is stopping"},
		} {
			p.connect(url, "alice")
			c.do(p, s)
			p.awaitEvents("events.some(e => e.what === 'close')")
			got := p.events()[2:]
			var last []*protocol.Message
			if len(got) > 1 {
				last = got[len(got)-2].frames(t)
			}
			if len(last) == 0 || last[len(last)-1].Type != protocol.TypeClose {
				t.Fatalf("before the Close of WebSocket came no Close: %+v", got)
			}
			end := testkit.Must(protocol.ParseClose(last[len(last)-1].Body))
			if end.Code != c.code || end.Text != c.text {
				t.Errorf("the Close says %d %q, and is to say %d %q", end.Code, end.Text, c.code, c.text)
			}
			if want := (event{What: "close", Text: c.reason, Code: c.web, Clean: true}); got[len(got)-1] != want {
				t.Errorf("the page is told %+v, and is to be told %+v", got[len(got)-1], want)
			}
			testkit.Receive(t, "Connected", s.connected)
			s.wantEnd(t, "the session", c.code)
		}
	})
}

// Rules 3 and 14: a page may close its WebSocket, and its tab may be closed or die. The session ends with ClientClosed, without waiting for a
// heartbeat.
func TestHowAPageEnds(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		b, at := browser(t), newSite(t)
		s := serve(t, at, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: -1}, Engine: engine.Config{
			Listeners: []engine.Listener{listener(scheme, engine.WebSocket{})}}})
		for _, c := range []struct {
			name string
			do   func(*tab)
			seen int // the code that the page sees
		}{
			{"closes", func(p *tab) { p.do("raw.close()") }, 1005},
			{"closes with a code", func(p *tab) { p.do("raw.close(4000, 'bye')") }, 4000},
			{"is closed", func(p *tab) { p.end() }, 0},
			{"dies", (*tab).crash, 0},
		} {
			p := openReady(t, b, at)
			p.connect(scheme+"://"+s.Addr, "alice")
			testkit.Receive(t, "Connected", s.connected)
			c.do(p)
			s.wantEnd(t, "the session of a page that "+c.name, protocol.ClientClosed)
			if c.seen != 0 {
				p.awaitEvents("events.length === 3")
				if got := p.events()[2]; got.What != "close" || got.Code != c.seen || !got.Clean {
					t.Errorf("a page that %s is told %+v", c.name, got)
				}
			}
		}
	})
}

// docs/protocol.md, WebSocket: with the line format messages are text, and each of the page's is a line.
func TestText(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		b, at := browser(t), newSite(t)
		l := listener(scheme, engine.WebSocket{})
		l.Codec = protocol.Line
		s := serve(t, at, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{l}}})
		p := openReady(t, b, at)
		p.do("connect(%q, 'rollcall.line')", scheme+"://"+s.Addr)
		p.awaitEvents("events.length === 1")
		p.do("raw.send('alice')")
		p.do("raw.send('/1:7 schöne Grüße, 再见\\n')")
		p.awaitEvents("events.map(e => e.text).join('').endsWith('再见\\n')")
		var text string
		for i, e := range p.events() {
			if want := "text"; i > 0 && e.What != want {
				t.Fatalf("the server sends %+v", e)
			} else if i > 0 {
				text += e.Text
			}
		}
		if want := "* welcome\theartbeat-ms=10000\n= /1:7 schöne Grüße, 再见\n"; text != want {
			t.Errorf("the server sends %q, and is to send %q", text, want)
		}
		p.do("raw.close()")
		s.wantEnd(t, "the session", protocol.ClientClosed)
	})
}

// docs/protocol.md, WebSocket: a page of another origin may not connect, and one that offers other subprotocols alone may not.
func TestPagesThatMayNotConnect(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		p, s, _, url := stand(t, scheme, rollcall.Config{})
		other := openReady(t, browser(t), newSite(t))
		for _, c := range []struct {
			p         *tab
			protocols string
		}{{other, "'rollcall.v1'"}, {p, "'chat.v1'"}, {p, "'rollcall.line'"}} {
			c.p.do("connect(%q, %s)", url, c.protocols)
			c.p.awaitEvents("events.some(e => e.what === 'close')")
			if got, want := c.p.events(), []event{{What: "close", Code: 1006}}; !slices.Equal(got, want) {
				t.Errorf("a page with %s is told %+v, and is to be told %+v", c.protocols, got, want)
			}
		}
		testkit.Eventually(t, "the server counts three that were refused", func() bool { return s.Stats().Refused.Handshake == 3 })
		p.connect(url, "alice")
		if n := len(s.connected); n != 1 {
			t.Errorf("%d sessions have begun, and one is to have", n)
		}
	})
}
