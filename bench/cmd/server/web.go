//go:build linux

package main

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	nbweb "github.com/lesismal/nbio/nbhttp/websocket"
	"github.com/lxzan/gws"

	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// audience are the connections of a WebSocket server that is to broadcast.
type audience[C any] struct {
	mu      sync.Mutex
	conns   []C
	arrived chan struct{} // closed when all are there
}

// newAudience returns nil if no broadcast is asked for.
func newAudience[C any](o options) *audience[C] {
	if !o.broadcast {
		return nil
	}
	return &audience[C]{arrived: make(chan struct{})}
}

// add is called for each connection.
func (a *audience[C]) add(c C, o options) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns = append(a.conns, c); len(a.conns) == o.conns {
		close(a.arrived)
	}
}

// obey broadcasts when it is told to. Without an audience it waits for ever.
func (a *audience[C]) obey(o options, toAllOf func(conns []C, frame []byte)) error {
	if a == nil {
		select {}
	}
	<-a.arrived
	frame := wire.Rollcall.AppendFrame(nil, o.size)
	return toAll(o.conns, func() { toAllOf(a.conns, frame) }).obey()
}

// gwsEcho is a server by gws: each message is answered by its own payload. Broadcasts are by gws.Broadcaster, which makes the frame
// once.
func gwsEcho(o options) error {
	h := &gwsHandler{o: o, all: newAudience[*gws.Conn](o)}
	// Parallel processing, for handlers that wait, and compression stay off.
	server := gws.NewServer(h, &gws.ServerOption{})
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	go func() { mustSend(server.RunListener(ln)) }()
	listening(wire.Scheme + o.addr)
	return h.all.obey(o, func(conns []*gws.Conn, frame []byte) {
		b := gws.NewBroadcaster(gws.OpcodeBinary, frame)
		for _, c := range conns {
			mustSend(b.Broadcast(c))
		}
		mustSend(b.Close())
	})
}

type gwsHandler struct {
	gws.BuiltinEventHandler
	o   options
	all *audience[*gws.Conn]
}

func (h *gwsHandler) OnOpen(c *gws.Conn) {
	_ = c.SetReadDeadline(time.Time{})
	h.all.add(c, h.o)
}

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	_ = c.WriteMessage(m.Opcode, m.Bytes())
	_ = m.Close() // gives its memory back
}

// nbioWeb is the same by nbio: on its event loops, or, with -blocking, with a goroutine a connection.
func nbioWeb(o options) error {
	logging.SetLevel(logging.LevelError)
	all := newAudience[*nbweb.Conn](o)
	u := nbweb.NewUpgrader()
	u.BlockingModAsyncWrite = false
	u.OnOpen(func(c *nbweb.Conn) { all.add(c, o) })
	u.OnMessage(func(c *nbweb.Conn, kind nbweb.MessageType, b []byte) { _ = c.WriteMessage(kind, b) })
	cfg := nbhttp.Config{Network: "tcp", Addrs: []string{o.addr}, NPoller: o.loops, MaxLoad: 1 << 20, ReleaseWebsocketPayload: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := u.Upgrade(w, r, nil); err == nil {
				_ = c.SetReadDeadline(time.Time{})
			}
		})}
	if o.blocking {
		cfg.IOMod, cfg.MaxBlockingOnline = nbhttp.IOModBlocking, 1<<20
	} else { // messages are handled on the event loop, and not by a pool of goroutines: it is faster, and what Rollcall does
		cfg.ServerExecutor = func(handle func()) { handle() }
	}
	if err := nbhttp.NewEngine(cfg).Start(); err != nil {
		return err
	}
	listening(wire.Scheme + o.addr)
	return all.obey(o, func(conns []*nbweb.Conn, frame []byte) {
		for _, c := range conns {
			mustSend(c.WriteMessage(nbweb.BinaryMessage, frame))
		}
	})
}
