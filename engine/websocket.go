package engine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// WebSocket has the connections of a listener speak WebSocket (RFC 6455), for browsers. The zero value is ready to use. With TLS
// clients connect by wss://, otherwise by ws://.
//
// Binary messages carry the bytes of the listener's codec. From the client they are one stream: frames of the codec may span
// messages, and messages may have several. The server's messages have whole frames, one or more. With protocol.Line messages
// are text, and each from the client is one line. Subprotocols are rollcall.v1, and rollcall.line for text: a client that
// offers any must offer the listener's; one that offers none is let in. Compression is declined.
//
// A connection ends with Rollcall's own Close, and then a Close of WebSocket whose reason has the same code and text. See
// docs/protocol.md.
type WebSocket struct {
	// Path is the path of the URL, such as "/rollcall"; requests for others get 404. "" means any.
	Path string
	// Origins are the web pages that may connect, each with scheme and host, such as "https://app.example.com". "*." at the
	// beginning of the host stands for one label or more; a port other than the scheme's must be given; "null" stands for pages
	// without an origin. Nil means pages of the server's own scheme, host and port, as the request has them; a client on the same
	// machine must then ask for localhost or a loopback address. A client without an Origin, which no browser is, always passes.
	Origins []string
	// CheckOrigin, when set, decides instead of Origins. It gets the whole request, and may look at cookies. It may be called for
	// several connections at once, may block for Timeouts.Handshake, and must not keep the request. A panic refuses it.
	CheckOrigin func(*http.Request) bool
	// TrustForwarded lists the addresses of HTTP proxies in front of this listener. Of a connection from one of them the client's
	// address is the last one in X-Forwarded-For that is not in the list, for limits, bans, OnAccept and Conn.RemoteAddr. The
	// proxy must append to that header, or overwrite it. From other peers it is ignored. Peers of a Unix socket are trusted.
	// With TrustForwarded, Origins or CheckOrigin must be set, because the server does not see the URL that browsers use.
	TrustForwarded []netip.Prefix
	// PingInterval is how long at most nothing comes from a client before it is pinged. Browsers answer by themselves, also for a
	// page that is hidden or frozen, and each answer is a sign of life. 0 means a third of the heartbeat timeout, and at most 10 s;
	// negative means no pings.
	PingInterval time.Duration
	// PageTimeout ends a connection from which no message, Heartbeat included, has come for so long, with HeartbeatTimeout. Pings
	// say that a browser is there, and not that its page still works. Pages should send a Heartbeat a minute while they are hidden.
	// 0 or less means no limit; 3 minutes are advised.
	PageTimeout time.Duration
	// MaxRequest is the size of the largest HTTP request, in bytes. 0 or less means 8 KiB.
	MaxRequest int
}

// The subprotocols.
const (
	subprotocolBinary = "rollcall.v1"
	subprotocolLine   = "rollcall.line"
)

// webListener is the WebSocket of a listener with what is derived from it.
type webListener struct {
	*WebSocket
	secure      bool
	subprotocol string
	trusted     []netip.Prefix
	origins     []webOrigin
	maxRequest  int
	looks       uint8  // passes of webs in half a PingInterval; 0: no pings
	page        uint16 // passes in PageTimeout; 0 for no limit
}

// newWebListener is called when the listener's settings are known to be right.
func (e *Engine) newWebListener(l Listener) *webListener {
	w := l.WebSocket
	at := &webListener{WebSocket: w, secure: l.TLS != nil, subprotocol: subprotocolBinary, trusted: unmapped(w.TrustForwarded),
		maxRequest: positiveOr(w.MaxRequest, 8<<10), page: e.passes(w.PageTimeout)}
	if l.Codec == protocol.Line {
		at.subprotocol = subprotocolLine
	}
	for _, text := range w.Origins {
		o, _ := parseOrigin(text)
		at.origins = append(at.origins, o)
	}
	switch {
	case w.PingInterval > 0:
		at.looks = uint8(min(e.passes(w.PingInterval/2), math.MaxUint8))
	case w.PingInterval == 0:
		at.looks = uint8(min(e.passes(e.ping/2), math.MaxUint8))
	}
	return at
}

// trusts reports whether a connection is from a trusted proxy. w may be nil.
func (w *webListener) trusts(a *arrival) bool {
	if w == nil || len(w.trusted) == 0 || a.asked {
		return false
	}
	_, unix := a.nc.(*net.UnixConn)
	return unix || contains(w.trusted, a.Remote.Addr())
}

// checkWebSocket returns an error for a listener's WebSocket that cannot work.
func checkWebSocket(l Listener) error {
	w := l.WebSocket
	if w == nil {
		return nil
	}
	for _, text := range w.Origins {
		if _, err := parseOrigin(text); err != nil {
			return fmt.Errorf("rollcall: the WebSocket of listener %q: %w", l.Addr, err)
		}
	}
	switch {
	case slices.ContainsFunc(w.TrustForwarded, func(p netip.Prefix) bool { return !p.IsValid() }):
		return fmt.Errorf("rollcall: the TrustForwarded of listener %q has an invalid prefix", l.Addr)
	case len(w.TrustForwarded) > 0 && len(w.Origins) == 0 && w.CheckOrigin == nil:
		return fmt.Errorf("rollcall: the WebSocket of listener %q has TrustForwarded, and needs Origins or CheckOrigin, "+
			"because behind a proxy the server does not know its own URL", l.Addr)
	case len(w.TrustForwarded) > 0 && len(l.ProxyProtocol) > 0:
		return fmt.Errorf("rollcall: the listener %q has ProxyProtocol and TrustForwarded; choose the one that its load balancer speaks", l.Addr)
	case w.Path != "" && !strings.HasPrefix(w.Path, "/"):
		return fmt.Errorf("rollcall: the Path of listener %q is %q, and must begin with /", l.Addr, w.Path)
	}
	return nil
}

// webOrigin is an entry of WebSocket.Origins, in lower case.
type webOrigin struct {
	scheme, host, port string
	below              bool // host begins with a dot: what stands before it may be anything
}

// parseOrigin returns an origin as browsers write it, or as Origins have it.
func parseOrigin(text string) (o webOrigin, err error) {
	if text == "null" {
		return webOrigin{scheme: text}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return o, fmt.Errorf("%q is no origin: %w", text, err)
	case u.Scheme == "" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return o, fmt.Errorf("%q is no origin: it is to have a scheme and a host, and perhaps a port, as in https://app.example.com", text)
	}
	o = webOrigin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	if rest, ok := strings.CutPrefix(o.host, "*."); ok {
		o.host, o.below = "."+rest, true
	}
	if strings.Contains(o.host, "*") {
		return o, fmt.Errorf("%q is no origin: a star may stand at the beginning of the host alone, with a dot behind it", text)
	}
	return o, nil
}

// defaultPort returns the port of URLs without one.
func defaultPort(scheme string) string {
	switch scheme {
	case "http", "ws":
		return "80"
	case "https", "wss":
		return "443"
	}
	return ""
}

// allows reports whether a page of this origin may connect.
func (o webOrigin) allows(page webOrigin) bool {
	if o.scheme != page.scheme || o.port != page.port {
		return false
	}
	if o.below {
		return len(page.host) > len(o.host) && strings.HasSuffix(page.host, o.host)
	}
	return o.host == page.host
}

// own returns the origin of pages that come from where the request goes to.
func (w *webListener) own(r *http.Request) (webOrigin, error) {
	scheme := "http"
	if w.secure {
		scheme = "https"
	}
	return parseOrigin(scheme + "://" + r.Host)
}

// forHTTP returns a copy of TLS settings with which no other protocol than HTTP/1.1 is agreed on.
func forHTTP(c *tls.Config) *tls.Config {
	own := c.Clone()
	own.NextProtos = []string{"http/1.1"}
	if slices.Contains(c.NextProtos, acmeTLS) {
		own.NextProtos = append(own.NextProtos, acmeTLS)
	}
	if ask := c.GetConfigForClient; ask != nil {
		own.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := ask(hello)
			if c == nil || err != nil {
				return c, err
			}
			return forHTTP(c), nil
		}
	}
	return own
}

// acmeTLS is the protocol by which a certificate authority checks a server, RFC 8737.
const acmeTLS = "acme-tls/1"

var errNotHTTP = errors.New("rollcall: the client has agreed on another protocol than HTTP/1.1")
