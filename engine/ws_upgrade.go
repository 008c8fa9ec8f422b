package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// upgrade is the stage of the HTTP request that begins a WebSocket, RFC 6455 section 4.2.
func upgrade(ctx context.Context, a *arrival) bool {
	if ctx.Err() != nil {
		return false
	}
	w := a.at.web
	r, early, err := a.readRequest(w.maxRequest)
	var client netip.AddrPort
	if err == nil {
		err = checkRequest(r, w)
	}
	if err == nil && a.forwards {
		client, err = forwardedFor(r, w.trusted)
	}
	if err == nil {
		err = a.checkOrigin(r, w)
	}
	if err != nil {
		a.refuseRequest(ctx, err)
		return false
	}
	a.asked = true
	if a.forwards {
		a.Remote = client
		if r := a.takeOrigin(client.Addr()); r != letIn {
			a.refuse(r, r.notice(a.at))
			return false
		}
		if a.engine.cfg.OnAccept != nil && !askHook(ctx, a) {
			return false
		}
	}
	if _, err := a.carrier().Write(acceptance(r, w)); err != nil {
		a.refuseRequest(ctx, err)
		return false
	}
	a.web, a.request = &wsStream{place: -1}, r
	if a.tls != nil {
		a.tls.wire.nc, a.tls.plain = nil, early
	} else if len(early) > 0 {
		a.web.needRare().early = early
	}
	return true
}

// carrier is what the request comes on and the answer goes out on.
func (a *arrival) carrier() io.ReadWriter {
	switch {
	case a.tls != nil:
		return a.tls.tls
	case a.feed != nil: // of WebSocketHandler
		return a.nc
	}
	return a.peer
}

// httpError is an answer to a request that begins no WebSocket.
type httpError struct {
	status int
	text   string
	header string // a line more
}

func (e *httpError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

var headEnd = []byte("\r\n\r\n")

// readRequest reads the request, and what has come behind it.
func (a *arrival) readRequest(most int) (r *http.Request, early []byte, err error) {
	a.peer.allow(most)
	from := a.carrier()
	if a.tls != nil {
		if p := a.tls.tls.ConnectionState().NegotiatedProtocol; p != "" && p != "http/1.1" {
			return nil, nil, errNotHTTP
		}
		a.peer.allow(most + most/2) // with what TLS adds
	}
	head := make([]byte, 0, 1024)
	end := -1
	for looked := 0; end < 0; {
		if len(head) == cap(head) {
			head = slices.Grow(head, len(head))
		}
		n, err := from.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if !isMethod(head) {
			return nil, nil, errNotARequest
		}
		if i := bytes.Index(head[looked:], headEnd); i >= 0 {
			end = looked + i + len(headEnd)
			break
		}
		looked = max(len(head)-len(headEnd)+1, 0)
		switch {
		case len(head) > most, errors.Is(err, errHandshakeTooLarge):
			return nil, nil, &httpError{status: http.StatusRequestHeaderFieldsTooLarge, text: fmt.Sprintf("the request has more than %d bytes", most)}
		case err != nil:
			return nil, nil, err
		}
	}
	if end > most {
		return nil, nil, &httpError{status: http.StatusRequestHeaderFieldsTooLarge, text: fmt.Sprintf("the request has more than %d bytes", most)}
	}
	if len(head) > end {
		early = bytes.Clone(head[end:])
	}
	if err := checkFields(head[:end]); err != nil {
		return nil, nil, err
	}
	r, err = http.ReadRequest(bufio.NewReader(bytes.NewReader(head[:end])))
	if err != nil {
		return nil, nil, badRequest("this is no request of HTTP/1.1: %v", err)
	}
	r.Body = http.NoBody
	r.RemoteAddr = a.Remote.String()
	return r, early, nil
}

// errNotARequest is for a peer that does not speak HTTP. It is not answered.
var errNotARequest = errors.New("rollcall: no HTTP request")

// isMethod reports whether bytes may be the beginning of a method's name.
func isMethod(b []byte) bool {
	for _, c := range b[:min(len(b), 8)] {
		if c == ' ' {
			return true
		}
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// checkFields returns an error for what http.ReadRequest lets pass: no Host, or two, a space before a colon, a field that goes on in
// the next line.
func checkFields(head []byte) error {
	hosts := 0
	_, fields, _ := bytes.Cut(head, []byte("\r\n"))
	for line := range bytes.SplitSeq(bytes.TrimSuffix(fields, headEnd), []byte("\r\n")) {
		name, _, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			return badRequest("this is no request of HTTP/1.1: %.60q is no field", line)
		}
		if strings.EqualFold(string(name), "Host") {
			hosts++
		}
	}
	if hosts != 1 {
		return badRequest("a request has one Host, not %d", hosts)
	}
	return nil
}

// checkRequest returns an error for a request that http.ReadRequest lets pass, and that begins no WebSocket here.
func checkRequest(r *http.Request, w *webListener) error {
	key, version := r.Header.Values("Sec-Websocket-Key"), r.Header.Get("Sec-Websocket-Version")
	switch {
	case r.Method != http.MethodGet, r.Proto != "HTTP/1.1":
		return badRequest("a WebSocket begins with GET in HTTP/1.1, not %s in %s", r.Method, r.Proto)
	case !strings.HasPrefix(r.RequestURI, "/"):
		return badRequest("the request's target is to be a path")
	case r.ContentLength != 0, len(r.TransferEncoding) > 0:
		return badRequest("the request has a body")
	case w.Path != "" && r.URL.Path != w.Path:
		return &httpError{status: http.StatusNotFound, text: "there is no WebSocket at this path"}
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return &httpError{status: http.StatusUpgradeRequired, text: "this is a WebSocket: connect with a WebSocket client",
			header: "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"}
	case version != "13":
		return &httpError{status: http.StatusUpgradeRequired, text: "the version of WebSocket is 13", header: "Sec-WebSocket-Version: 13\r\n"}
	case len(key) != 1:
		return badRequest("the request has %d fields Sec-WebSocket-Key, and needs one", len(key))
	}
	if b, err := base64.StdEncoding.DecodeString(key[0]); err != nil || len(b) != 16 {
		return badRequest("Sec-WebSocket-Key is to be 16 bytes in base64")
	}
	if offered := tokens(r.Header, "Sec-Websocket-Protocol"); len(offered) > 0 && !slices.Contains(offered, w.subprotocol) {
		return badRequest("the subprotocol of this server is %s", w.subprotocol)
	}
	return nil
}

// tokens returns the values of a header whose fields are lists.
func tokens(h http.Header, name string) (all []string) {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if t = strings.TrimSpace(t); t != "" {
				all = append(all, t)
			}
		}
	}
	return all
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(tokens(h, name), func(t string) bool { return strings.EqualFold(t, token) })
}

// checkOrigin returns an error for a web page that may not connect.
func (a *arrival) checkOrigin(r *http.Request, w *webListener) error {
	all := r.Header.Values("Origin")
	if len(all) > 1 {
		return badRequest("the request has %d fields Origin", len(all))
	}
	if w.CheckOrigin != nil {
		ok := false
		contain.Apart(func() { ok = w.CheckOrigin(r) }, func(v any) { a.engine.panicked("CheckOrigin", v) })
		if !ok {
			return &httpError{status: http.StatusForbidden, text: "WebSocket.CheckOrigin refuses the request"}
		}
		return nil
	}
	if len(w.origins) == 0 && a.Local.Addr().IsLoopback() && !isLoopback(r.Host) { // a name of the attacker's that points here
		return &httpError{status: http.StatusForbidden, text: "the Host of a request to this machine is to be localhost or a loopback address, unless WebSocket.Origins are set"}
	}
	if len(all) == 0 {
		return nil
	}
	page, err := parseOrigin(all[0])
	if err == nil && len(w.origins) == 0 {
		var own webOrigin
		if own, err = w.own(r); err == nil && page == own {
			return nil
		}
	}
	if err == nil && slices.ContainsFunc(w.origins, func(o webOrigin) bool { return o.allows(page) }) {
		return nil
	}
	return &httpError{status: http.StatusForbidden, text: fmt.Sprintf("pages of the origin %.100q may not connect: see WebSocket.Origins", all[0])}
}

// isLoopback reports whether a Host names this machine.
func isLoopback(host string) bool {
	o, err := parseOrigin("http://" + host)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(o.host)
	return o.host == "localhost" || err == nil && ip.IsLoopback()
}

// forwardedFor returns the client's address: the last one in X-Forwarded-For that is not a proxy's.
func forwardedFor(r *http.Request, trusted []netip.Prefix) (netip.AddrPort, error) {
	all := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i, entry := range slices.Backward(all) {
		client, err := parseForwarded(strings.TrimSpace(entry))
		if err != nil {
			return client, badRequest("X-Forwarded-For has %.60q where a client's address is to be", entry)
		}
		if i == 0 || !contains(trusted, client.Addr()) {
			return client, nil
		}
	}
	return netip.AddrPort{}, badRequest("there is no X-Forwarded-For")
}

// parseForwarded reads an address with or without a port; one of IPv6 may stand in brackets.
func parseForwarded(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(ip.Unmap(), 0), err
}

// acceptance is the answer that begins the WebSocket.
func acceptance(r *http.Request, w *webListener) []byte {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	b := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n")
	if len(tokens(r.Header, "Sec-Websocket-Protocol")) > 0 {
		b = append(b, "Sec-WebSocket-Protocol: "+w.subprotocol+"\r\n"...)
	}
	return append(b, '\r', '\n')
}

// httpAnswer is an answer that begins no WebSocket.
func httpAnswer(e *httpError) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n%sConnection: close\r\nContent-Length: %d\r\n\r\n%s\n",
		e.status, http.StatusText(e.status), e.header, len(e.text)+1, e.text)
}

// refuseRequest closes a connection whose request begins no WebSocket. The peer is told why if it speaks HTTP.
func (a *arrival) refuseRequest(ctx context.Context, err error) {
	e := a.engine
	if ctx.Err() != nil { // giveUp closes it
		return
	}
	a.peer.blame()
	e.log.Debug("no WebSocket", zapArrival(a), zap.Error(err))
	if a.peer.silent() {
		e.probes.Add(1)
	}
	if !a.turnedDown(refusedHandshake) {
		return
	}
	var he *httpError
	if !errors.As(err, &he) {
		e.turnAway(a.nc, a.at, nil)
		return
	}
	a.answer(httpAnswer(he))
}

// answer writes an answer that begins no WebSocket, and closes the connection.
func (a *arrival) answer(b []byte) {
	a.engine.rejectWithNotice(a.nc, lingerTime, func() error {
		_, err := a.carrier().Write(b)
		if err == nil && a.tls != nil {
			err = a.tls.tls.CloseWrite()
		}
		return err
	})
}
