package main

import (
	"crypto/tls"
	"strings"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

var tlsScenarios = slicesOf("tls", "wss", func(scheme string) []scenario {
	return []scenario{
		{
			name: scheme, heading: closeHeading, needs: scheme,
			rule: "over TLS all is the same",
			run: func(t *trial) {
				s := t.listenOn(scheme, nil)
				c := t.logOn(s, command{"tokens": []string{"t:1"}}, nil)
				c.fence()
				c.send(message(strings.Repeat("x", 100_000)))
				if e := t.nextEvent("message"); len(e.Body) != 200_000 {
					t.failf("got a message of %d bytes, want 100,000", len(e.Body)/2)
				}
				c.close(protocol.ServerStopping, "", nil)
				t.lost(1004)
				c = t.again(s, nil)
				c.cut()
				t.lost(1001)
				c = t.again(s, nil)
				t.do(command{"do": "close"})
				c.wantClose(protocol.ClientClosed)
				c.wantEnd()
				t.closed(1000, true)
			},
		},
		{
			name: scheme + "-wrong-name", heading: closeHeading, needs: scheme,
			rule: "a certificate for another name is refused, and no token is sent there",
			run:  func(t *trial) { t.mistrusts(scheme, wrongNameTLS()) },
		},
		{
			name: scheme + "-unknown-authority", heading: closeHeading, needs: scheme,
			rule: "a certificate of an authority that is not trusted is refused, and no token is sent there",
			run:  func(t *trial) { t.mistrusts(scheme, unknownTLS()) },
		},
		{
			name: scheme + "-address", heading: closeHeading, needs: scheme,
			rule: "an address that the server names is verified as any other: the certificate must be for it",
			run: func(t *trial) {
				s := t.listenOn(scheme, nil)
				c := t.logOn(s, nil, nil)
				for _, config := range []*tls.Config{wrongNameTLS(), unknownTLS()} {
					other := t.listenOn(scheme, config)
					c.close(protocol.ServerStopping, "moved", fields{"address": other.hostPort()})
					t.lost(1004)
					t.lost(1001) // at the other one
					t.noLogon(other)
					c = t.again(s, nil)
				}
				other := t.listenOn(scheme, nil)
				c.close(protocol.ServerStopping, "moved", fields{"address": other.hostPort()})
				t.lost(1004)
				t.again(other, nil).fence()
			},
		},
	}
})

// slicesOf returns the scenarios of both.
func slicesOf(one, other string, of func(string) []scenario) []scenario {
	return append(of(one), of(other)...)
}

// mistrusts requires that a client does not log on at a server with this certificate.
func (t *trial) mistrusts(scheme string, config *tls.Config) {
	s := t.listenOn(scheme, config)
	t.dial(s, command{"tokens": []string{"secret"}})
	t.closed(1001, true)
	t.noLogon(s)
	good := t.listenOn(scheme, nil)
	t.dial(good, nil)
	good.accept().welcome(nil)
	t.state("online")
}

// noLogon requires that nothing came to a server over TLS.
func (t *trial) noLogon(s *server) {
	for _, c := range s.conns.all() { // a client may look at the certificate after the handshake
		c.wantEnd()
		if m, ok := c.frames.next(0); ok {
			t.failf("got %s over a connection that is not to be trusted, want nothing", describe(m))
		}
	}
}

var webScenarios = []scenario{
	{
		name: "ws", heading: webHeading, needs: "ws",
		rule: "over WebSocket all is the same: binary messages, of which those of the server hold one or more whole frames",
		run: func(t *trial) {
			s := t.listenOn("ws", nil)
			c := t.logOn(s, command{"fields": fields{"room": "42"}}, nil)
			c.fence()
			c.sendAll(message("one"), pushOf(1, 1, true, "", nil, "two"), message("three"))
			for _, want := range []string{"one", "two", "three"} {
				if e := t.wait("an event", func(event) bool { return true }); e.body() != want {
					t.failf("got %s, want %s", &e, want)
				}
			}
			c.wantAck(1)
			t.do(command{"do": "request", "tag": "r", "type": 1, "size": 200_000})
			c.send(answer(c.wantRequest(1, "", strings.Repeat("\x00", 200_000)), "", strings.Repeat("y", 100_000)))
			if e := t.tagged("reply", "r"); len(e.Body) != 200_000 {
				t.failf("got a reply of %d bytes, want 100,000", len(e.Body)/2)
			}
			c.close(protocol.ServerStopping, "", nil)
			t.lost(1004)
			c = t.again(s, nil)
			t.do(command{"do": "close"})
			c.wantEnd()
			t.closed(1000, true)
		},
	},
	{
		name: "ws-fragments", heading: webHeading, needs: "ws",
		rule: "a long message of the server comes as fragments, between which a Ping may come, which is answered",
		run: func(t *trial) {
			s := t.listenOn("ws", nil)
			c := t.logOn(s, nil, nil)
			f := frame(message("in three parts"))
			var b []byte
			for i, part := range [][]byte{f[:5], f[5:20], f[20:]} {
				op := byte(wsframe.Continuation)
				if i == 0 {
					op = wsframe.Binary
				}
				b = append(wsframe.AppendHeader(b, op, i == 2, len(part)), part...)
				if i < 2 {
					b = append(wsframe.AppendHeader(b, wsframe.Ping, true, 4), "ping"...)
				}
			}
			c.writing.Lock()
			_, err := c.nc.Write(b)
			c.writing.Unlock()
			check(err)
			if e := t.nextEvent("message"); e.body() != "in three parts" {
				t.failf("got %s, want the message that came in three parts", &e)
			}
			c.fence()
		},
	},
	{
		name: "ws-address", heading: webHeading, needs: "ws",
		rule: "an address that the server names changes host and port; scheme and path stay",
		run: func(t *trial) {
			s := t.listenOn("ws", nil)
			c := t.logOn(s, nil, nil)
			other := t.listenOn("ws", nil)
			c.close(protocol.ServerStopping, "moved", fields{"address": other.hostPort()})
			t.lost(1004)
			t.again(other, nil).fence()
		},
	},
}
