package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// eachWebSocket runs a test for ws and for wss.
func eachWebSocket(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	eachTransportThat(t, func(tr *transport) bool { return tr.web }, f)
}

// web returns the peer's WebSocket.
func (p *peer) web() *webConn { return p.Conn.(*webConn) }

// write writes bytes below the WebSocket, in one piece.
func (w *webConn) write(t testing.TB, pieces ...[]byte) {
	t.Helper()
	_ = w.SetDeadline(time.Now().Add(patience))
	if _, err := w.Conn.Write(bytes.Join(pieces, nil)); err != nil {
		t.Fatal(err)
	}
}

// wsClose is a client's Close; without a payload for the code 1005.
func wsClose(code int, reason string) []byte {
	if code == 1005 {
		return wsFrame(8, true, nil)
	}
	return wsFrame(8, true, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// wantStatus wants the server's Close to have this status, and a reason that begins so.
func (w *webConn) wantStatus(t testing.TB, status int, reason string) {
	t.Helper()
	if w.status != status || !strings.HasPrefix(w.reason, reason) {
		t.Errorf("the WebSocket was closed with %d %q, want %d %q", w.status, w.reason, status, reason)
	}
}

// ourReason is the reason of a Close for one of our codes; the application's have no names.
func ourReason(code protocol.CloseCode) string {
	return strings.TrimSuffix(fmt.Sprintf("%d %v", code, code), fmt.Sprintf(" code %[1]d", code))
}

// RFC 6455 sections 5 and 7.4: after a mistake comes Rollcall's own Close with InvalidMessage, then a Close with the code that the
// mistake has, and then the end. What came before the mistake is answered.
func TestAMistakeEndsTheWebSocketWithItsCode(t *testing.T) {
	unmasked := func(op byte, payload string) []byte { return append([]byte{0x80 | op, byte(len(payload))}, payload...) }
	reserved := func(bits byte) []byte {
		b := wsFrame(2, true, []byte("x"))
		b[0] |= bits
		return b
	}
	mistakes := []struct {
		name   string
		status int
		raw    []byte
	}{
		{"no mask", 1002, unmasked(2, "x")}, {"a Ping without a mask", 1002, unmasked(9, "")},
		{"reserved bit 1", 1002, reserved(0x40)}, {"reserved bit 2", 1002, reserved(0x20)}, {"reserved bit 3", 1002, reserved(0x10)},
		{"opcode 3", 1002, wsFrame(3, true, nil)}, {"opcode 11", 1002, wsFrame(11, true, nil)},
		{"a continuation of nothing", 1002, wsFrame(0, true, []byte("x"))},
		{"a message within another", 1002, append(wsFrame(2, false, nil), wsFrame(2, true, []byte("x"))...)},
		{"a Ping in fragments", 1002, wsFrame(9, false, nil)},
		{"a Ping of 126 bytes", 1002, wsFrame(9, true, make([]byte, 126))},
		{"a length that is not the shortest", 1002, []byte{0x82, 0x80 | 126, 0, 5, 0, 0, 0, 0}},
		{"a length of 2^63", 1002, []byte{0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"half a code", 1002, wsFrame(8, true, []byte("x"))},
		{"a code that must not be sent", 1002, wsClose(1006, "")},
		{"a code that nothing defines", 1002, wsClose(2999, "")},
		{"a reason that is not UTF-8", 1007, wsClose(1000, "\xFF")},
		{"a text", 1003, wsFrame(1, true, []byte("x"))},
	}
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		g := newGate(t, e)
		r := serve(t, e)
		for _, m := range mistakes {
			t.Run(m.name, func(t *testing.T) {
				p, b := g.enter(t, r.addr)
				p.read()
				p.web().write(t, wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 7})), m.raw)
				if got := p.read(); got.ID != 7 {
					t.Fatalf("got %v, want the reply to 7", got)
				}
				p.wantClose(protocol.InvalidMessage)
				p.web().wantStatus(t, m.status, ourReason(protocol.InvalidMessage)+": ")
				_ = p.Close()
				b.wantEnd(t, protocol.InvalidMessage)

				early := dial(t, r.addr) // the same without a logon
				early.web().write(t, m.raw)
				early.wantClose(protocol.InvalidMessage)
				early.web().wantStatus(t, m.status, ourReason(protocol.InvalidMessage)+": ")
			})
		}
	})
}

// RFC 6455 section 5.4: the client's messages are one stream. Frames of the codec span fragments and messages, and share them,
// with control frames anywhere between.
func TestMessagesOfAWebSocketAreOneStream(t *testing.T) {
	const count = 5
	var frames []byte
	for id := range uint32(count) {
		frames = append(frames, frame(t, protocol.Message{Type: 1, ID: id + 1, Body: bytes.Repeat([]byte{byte(id)}, int(id)*40)})...)
	}
	fragments := func(size func() int) []byte {
		var raw []byte
		op := byte(2)
		for rest := frames; ; op = 0 {
			n := min(size(), len(rest))
			last := n == len(rest)
			raw = append(raw, wsFrame(op, last, rest[:n])...)
			if rest = rest[n:]; last {
				return raw
			}
			if len(rest)%3 == 0 {
				raw = append(raw, wsFrame(10, true, []byte("a Pong"))...)
			}
		}
	}
	var single []byte
	for i := range frames {
		single = append(single, wsFrame(2, true, frames[i:i+1])...)
	}
	ways := map[string][]byte{
		"one message":              wsFrame(2, true, frames),
		"fragments of a byte":      fragments(func() int { return 1 }),
		"messages of a byte":       single,
		"fragments of any size":    fragments(func() int { return rand.IntN(30) }),
		"two messages":             append(wsFrame(2, true, frames[:50]), wsFrame(2, true, frames[50:])...),
		"empty messages between":   slices.Concat(wsFrame(2, true, nil), wsFrame(2, true, frames[:9]), wsFrame(2, true, nil), wsFrame(2, true, frames[9:])),
		"an empty fragment at end": slices.Concat(wsFrame(2, false, frames), wsFrame(0, true, nil)),
	}
	eachWebSocket(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			r := serve(t, newEcho(engine.Config{Workers: workers}))
			p := dial(t, r.addr)
			for name, raw := range ways {
				for _, size := range []int{len(raw), 1 + rand.IntN(100), 7} {
					for rest := raw; len(rest) > 0; {
						n := min(size, len(rest))
						p.web().write(t, rest[:n])
						rest = rest[n:]
					}
					for id := range uint32(count) {
						if m := p.read(); m.ID != id+1 || len(m.Body) != int(id)*40 {
							t.Fatalf("%s in pieces of %d bytes: got %v, want the reply to %d", name, size, m, id+1)
						}
					}
				}
			}
		})
	})
}

// Each message of the server's has whole frames of the codec, however large they are. A large one comes in fragments.
func TestTheServersMessagesHaveWholeFrames(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			r := serve(t, newEcho(engine.Config{Workers: workers}))
			p := dial(t, r.addr)
			w := p.web()
			w.noted = true
			const count, large = 300, 300 << 10
			go func() {
				var b []byte
				for id := range uint32(count) {
					b = append(b, frame(t, protocol.Message{Type: 1, ID: id + 1, Body: []byte(strings.Repeat("x", int(id)))})...)
				}
				b = append(b, frame(t, protocol.Message{Type: 1, ID: count + 1, Body: make([]byte, large)})...)
				_, _ = p.Write(b)
			}()
			for id := range uint32(count + 1) {
				if m := p.read(); m.ID != id+1 {
					t.Fatalf("got %v, want the reply to %d", m, id+1)
				}
			}
			seen, parts, most := 0, 0, 0
			var message []byte
			for _, f := range w.got {
				message = append(message, f.payload...)
				if parts++; !f.fin {
					continue
				}
				for len(message) > 0 {
					var m protocol.Message
					n, _, err := protocol.Binary.Decode(message, &m, protocol.DecodeOptions{})
					if n == 0 || err != nil {
						t.Fatalf("a message ends with %d bytes of a frame, %v", len(message), err)
					}
					message, seen = message[n:], seen+1
				}
				most, parts = max(most, parts), 0
			}
			if seen != count+1 || len(message) > 0 {
				t.Errorf("there are %d frames in messages, and %d bytes of another", seen, len(message))
			}
			if most < 2 {
				t.Error("the large answer came in one fragment")
			}
		})
	})
}

// RFC 6455 section 7.1: a client's Close is answered by one with the same code, after what it had asked before. Its code says
// whether the connection was closed, or has failed.
func TestTheClientsCloseIsAnswered(t *testing.T) {
	ends := map[int]protocol.CloseCode{1005: protocol.ClientClosed}
	for _, code := range []int{1000, 1001, 3000, 3999, 4000, 4999} {
		ends[code] = protocol.ClientClosed
	}
	for _, code := range []int{1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		ends[code] = protocol.NetworkError
	}
	eachWebSocket(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			e := newEcho(engine.Config{Workers: workers})
			g := newGate(t, e)
			r := serve(t, e)
			for code, end := range ends {
				t.Run(fmt.Sprint(code), func(t *testing.T) {
					p, b := g.enter(t, r.addr)
					p.read()
					p.web().left = true
					p.web().write(t, wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 7})), wsClose(code, "going"), []byte("what is no frame"))
					if workers > 0 && end != protocol.ClientClosed { // a failed connection does not wait for handlers
						p.wantEventualEnd()
					} else if got := p.read(); got.ID != 7 {
						t.Fatalf("got %v, want the reply to 7", got)
					}
					p.wantEOF()
					p.web().wantStatus(t, code, "")
					b.wantEnd(t, end)
				})
			}
		})
	})
}

// A Close within a frame of the codec is answered, and the connection has failed. One within a message of whole frames is as any.
func TestACloseWithinAMessage(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			e := newEcho(engine.Config{Workers: workers})
			g := newGate(t, e)
			r := serve(t, e)
			one := frame(t, protocol.Message{Type: 1, ID: 7, Body: make([]byte, 50)})
			for name, c := range map[string]struct {
				raw []byte
				end protocol.CloseCode
			}{
				"a part of a frame":              {wsFrame(2, true, one[:30]), protocol.NetworkError},
				"a part of a frame in fragments": {wsFrame(2, false, one[:30]), protocol.NetworkError},
				"whole frames":                   {wsFrame(2, false, one), protocol.ClientClosed},
			} {
				t.Run(name, func(t *testing.T) {
					p, b := g.enter(t, r.addr)
					p.read()
					p.web().left = true
					p.web().write(t, c.raw, wsClose(1001, ""))
					if c.end == protocol.ClientClosed {
						p.read()
					}
					p.wantEOF()
					p.web().wantStatus(t, 1001, "")
					b.wantEnd(t, c.end)
				})
			}
		})
	})
}

// A client that logs on and closes in one piece is let in, answered, and gone.
func TestACloseRightBehindTheLogon(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		g := newGate(t, e)
		g.first = func(k engine.Control, m *protocol.Message, b *binding) {
			m = m.Clone()
			go k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m})
		}
		r := serve(t, e)
		p := dial(t, r.addr)
		p.web().left = true
		p.web().write(t, wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 1, UserID: "ann"})), wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 2})),
			wsClose(1000, ""))
		for id := range uint32(2) {
			if m := p.read(); m.ID != id+1 {
				t.Fatalf("got %v, want the reply to %d", m, id+1)
			}
		}
		p.wantEOF()
		p.web().wantStatus(t, 1000, "")
		receive(t, "a connection", g.arrived).wantEnd(t, protocol.ClientClosed)
	})
}

// RFC 6455 section 7.4: after Rollcall's Close comes one of WebSocket, whose reason has the same code and text.
func TestOurCloseIsSaidAgainInWebSocketsWords(t *testing.T) {
	codes := map[protocol.CloseCode]int{
		protocol.ServerStopping: 1001, protocol.InternalError: 1011, protocol.InvalidMessage: 1002, protocol.MessageTooLarge: 1009,
		protocol.HeartbeatTimeout: 1013, protocol.RateLimited: 1013, protocol.SlowConsumer: 1013, protocol.TokenExpired: 1013,
		protocol.PushedOut: 1008, protocol.KickedOut: 1008, protocol.Unauthorized: 1008, protocol.SessionExpired: 1008,
		3000: 3000, 3999: 3999, 4000: 4000, 4999: 4999,
	}
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		g := newGate(t, e)
		r := serve(t, e)
		for code, status := range codes {
			for _, text := range []string{"", "enough", "no UTF-8: \xFF", strings.Repeat("€", 100)} {
				p, b := g.enter(t, r.addr)
				p.read()
				b.conn.Close(protocol.Errorf(code, "%s", text))
				p.wantClose(code)
				want := ourReason(code)
				if text != "" {
					want += ": " + strings.ToValidUTF8(text, "\uFFFD")
				}
				for len(want) > 123 {
					want = strings.TrimSuffix(want, "€")
				}
				if w := p.web(); w.status != status || w.reason != want {
					t.Errorf("%v %q: the WebSocket was closed with %d %q", code, text, w.status, w.reason)
				}
				_ = p.Close()
				b.wantEnd(t, code)
			}
		}
		p, b := g.enter(t, r.addr) // the client says so in our own words
		p.read()
		p.send(protocol.Message{Type: protocol.TypeClose})
		p.wantEOF()
		p.web().wantStatus(t, 1000, ourReason(protocol.ClientClosed))
		b.wantEnd(t, protocol.ClientClosed)
	})
}

// A connection that ends without a Close counts as one of TCP: within a frame or a message it has failed.
func TestTheEndWithoutAClose(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		g := newGate(t, e)
		r := serve(t, e)
		for name, c := range map[string]struct {
			raw  []byte
			code protocol.CloseCode
		}{
			"between messages":     {nil, protocol.ClientClosed},
			"behind a Pong":        {wsFrame(10, true, nil), protocol.ClientClosed},
			"within a header":      {[]byte{0x82}, protocol.NetworkError},
			"within a Ping":        {[]byte{0x89, 0x85, 1, 2, 3, 4, 5}, protocol.NetworkError},
			"within a payload":     {wsFrame(2, true, frame(t, protocol.Message{Type: 1, Body: make([]byte, 9)}))[:10], protocol.NetworkError},
			"between fragments":    {wsFrame(2, false, nil), protocol.NetworkError},
			"within a codec frame": {wsFrame(2, true, frame(t, protocol.Message{Type: 1, Body: make([]byte, 9)})[:20]), protocol.NetworkError},
		} {
			t.Run(name, func(t *testing.T) {
				p, b := g.enter(t, r.addr)
				p.read()
				if c.raw != nil {
					p.web().write(t, c.raw)
				}
				p.endSide()
				p.wantEventualEnd()
				_ = p.Close()
				b.wantEnd(t, c.code)
			})
		}
	})
}

// Frames that come in one piece with the HTTP request are delivered, and so are those that the TLS handshake has read, whether
// the client waits for answers or is gone at once.
func TestFramesInOnePieceWithTheRequest(t *testing.T) {
	var frames []byte
	for id := range uint32(3) {
		frames = append(frames, wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: id + 1, UserID: "ann", Body: make([]byte, 100)}))...)
	}
	eachWebSocket(t, func(t *testing.T) {
		e := newEcho(engine.Config{})
		g := newGate(t, e)
		r := serve(t, e)
		for _, behind := range []int{0, 1, 2, 20, len(frames) / 2, len(frames) - 1, len(frames)} {
			for _, end := range []string{"stays", "closes", "ends its side"} {
				t.Run(fmt.Sprintf("%d of %d bytes, the client %s", behind, len(frames), end), func(t *testing.T) {
					nc := bare(t, r.addr, nil)
					if tr := transportOf(t); tr.secure != nil {
						nc = shakeHands(t, nc, tr.secure.client).Conn
					}
					rest := frames[behind:]
					left := end == "closes"
					if left {
						rest = append(slices.Clone(rest), wsClose(1000, "")...)
					}
					first := append([]byte(webRequest(r.addr)), frames[:behind]...)
					if behind == len(frames) {
						first, rest = append(first, rest...), nil
					}
					p := upgradedBy(t, nc, first)
					p.web().left = left
					p.web().write(t, rest)
					if end == "ends its side" {
						p.endSide()
					}
					for id := range uint32(3) {
						if m := p.read(); m.ID != id+1 {
							t.Fatalf("got %v, want the reply to %d", m, id+1)
						}
					}
					b := receive(t, "a connection", g.arrived)
					if end == "stays" {
						p.ask(1, 4, "more")
						_ = p.Close()
					} else {
						p.wantEOF()
					}
					b.wantEnd(t, protocol.ClientClosed)
				})
			}
		}
	})
}

// upgradedBy is upgraded with a request of the test's, and what stands behind it.
func upgradedBy(t testing.TB, nc net.Conn, request []byte) *peer {
	t.Helper()
	w := &webConn{Conn: nc, op: 2}
	w.write(t, request)
	if status, head := w.answer(t); status != 101 {
		t.Fatalf("the server answers\n%s", head)
	}
	return newPeer(t, w)
}
