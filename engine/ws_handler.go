package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// WebSocketHandler returns a handler for the mux of a program that has an HTTP server already: what the handler takes over is a
// connection of this engine, as those that come in by a listener with WebSocket are, on the same port as the program's pages. The
// codec is that of the first listener, as for ServeConn, and a connection costs what one of ServeConn costs; a listener of the
// engine's own is cheaper. OnAccept is called after the request was read; Incoming.Listener is -1. w.Path and w.MaxRequest mean
// nothing here: the mux and the http.Server decide. A w.PingInterval has no effect if it is shorter than those of the engine's listeners and
// than the default. WebSocketHandler panics where w has a mistake that Listen would return.
//
// The handler returns when the connection is over. While the engine does not run it answers 503. Set the http.Server's
// ReadHeaderTimeout, and stop the engine besides http.Server.Shutdown, which does not end such connections. HTTP/2 cannot be taken
// over: it is answered with 426, and browsers then use HTTP/1.1 for a WebSocket by themselves.
func (e *Engine) WebSocketHandler(w WebSocket) http.Handler {
	w.Path = ""
	if err := checkWebSocket(Listener{Addr: "WebSocketHandler", WebSocket: &w}); err != nil {
		panic(err)
	}
	h := &webHandler{engine: e, settings: w}
	h.plain.secure, h.secure.secure = false, true
	return h
}

// webHandler is the handler of WebSocketHandler.
type webHandler struct {
	engine        *Engine
	settings      WebSocket
	plain, secure webEntrance
}

// webEntrance is the entrance of a handler's connections, with TLS or without.
type webEntrance struct {
	secure bool
	once   sync.Once
	at     *entrance
}

// entrance returns the one for a request. The engine runs.
func (h *webHandler) entrance(r *http.Request) *entrance {
	w := &h.plain
	if r.TLS != nil {
		w = &h.secure
	}
	w.once.Do(func() {
		first := h.engine.cfg.Listeners[0]
		w.at = h.engine.newEntrance(servedConns, nil, Listener{Codec: first.Codec, NewCodec: first.NewCodec})
		w.at.web = h.engine.newWebListener(Listener{Codec: first.Codec, WebSocket: &h.settings})
		w.at.web.secure = w.secure
		w.at.setup.web = w.at.web
		w.at.stages = append(w.at.stages, accept101)
	})
	return w.at
}

// ServeHTTP implements http.Handler.
func (h *webHandler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	e := h.engine
	err := e.mayServe()
	if err != nil {
		answerHTTP(rw, &httpError{status: http.StatusServiceUnavailable, text: "the server does not run", header: retryLater})
		return
	}
	a, early, err := h.takeOver(rw, r)
	if err != nil {
		e.accepting.Done()
		answerHTTP(rw, err)
		return
	}
	a.web = &wsStream{place: -1}
	if len(early) > 0 {
		a.web.needRare().early = early
	}
	_ = a.serve()
}

// takeOver takes the connection from the http.Server, unless the request begins no WebSocket.
func (h *webHandler) takeOver(rw http.ResponseWriter, r *http.Request) (a *arrival, early []byte, err error) {
	if r.ProtoMajor != 1 {
		return nil, nil, &httpError{status: http.StatusUpgradeRequired, text: "a WebSocket begins with HTTP/1.1"}
	}
	at := h.entrance(r)
	if err := checkRequest(r, at.web); err != nil {
		return nil, nil, err
	}
	a = &arrival{engine: h.engine, at: at, asked: true, served: make(chan error, 1)}
	a.Incoming = Incoming{Remote: addrPortOf(r.RemoteAddr), Listener: servedConns}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		a.Local = addrPort(local)
	}
	if err := a.checkOrigin(r, at.web); err != nil {
		return nil, nil, err
	}
	unix := !a.Remote.IsValid()
	if len(at.web.trusted) > 0 && (unix || contains(at.web.trusted, a.Remote.Addr())) {
		client, err := forwardedFor(r, at.web.trusted)
		if err != nil {
			return nil, nil, err
		}
		a.Proxy, a.Remote = a.Remote, client
	}
	nc, rest, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	early, _ = io.ReadAll(io.LimitReader(rest.Reader, int64(rest.Reader.Buffered())))
	a.request = r.Clone(context.WithoutCancel(r.Context()))
	a.request.Body = http.NoBody
	a.feed = newFeedSocket(h.engine, nc)
	a.nc = servedConn{nc, a.feed}
	if !a.Remote.IsValid() {
		a.remote = r.RemoteAddr
	}
	a.feed.network = "tcp"
	return a, early, nil
}

// accept101 is the stage that answers a request that is taken over.
func accept101(ctx context.Context, a *arrival) bool {
	if ctx.Err() != nil {
		return false
	}
	if _, err := a.nc.Write(acceptance(a.request, a.at.web)); err != nil {
		a.refuse(refusedHandshake, nil)
		return false
	}
	return true
}

// addrPortOf returns an address from a request, or the zero value.
func addrPortOf(text string) netip.AddrPort {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// answerHTTP answers a request that begins no WebSocket by the http.Server.
func answerHTTP(rw http.ResponseWriter, err error) {
	var he *httpError
	if !errors.As(err, &he) {
		he = &httpError{status: http.StatusInternalServerError, text: "the connection cannot be taken over: " + err.Error()}
	}
	for line := range bytes.Lines([]byte(he.header)) {
		if name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(": ")); ok && string(name) != "Connection" {
			rw.Header().Set(string(name), string(value))
		}
	}
	rw.Header().Set("Connection", "close")
	http.Error(rw, he.text, he.status)
}

// retryLater has a client come back in a while.
const retryLater = "Retry-After: 5\r\n"

// busyAnswer is the answer for a client that is not let in.
func busyAnswer(why *protocol.CloseError) []byte {
	status := http.StatusServiceUnavailable
	if !why.Code.MayReconnect() {
		status = http.StatusForbidden
	}
	return httpAnswer(&httpError{status: status, text: why.Error(), header: retryLater})
}
