package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// target is an address, taken apart.
type target struct {
	name     string   // for errors: the address without what may be a secret
	hostPort string   // what is dialled
	url      *url.URL // of a WebSocket; nil for TCP and UDP
	udp      bool
	host     string      // of the HTTP request
	tls      *tls.Config // nil for none
}

// opened is a connection that may be logged on over.
type opened struct {
	nc    net.Conn
	early []byte // what has come of a WebSocket already
}

// target takes an address apart: "host:port", ws://, wss:// or udp://.
func (c *Config) target(addr string) (*target, error) {
	if !strings.Contains(addr, "://") {
		return &target{name: addr, hostPort: addr, tls: c.TLS}, nil
	}
	t := &target{name: shown(addr)}
	u, err := url.Parse(addr)
	if err == nil {
		err = c.checkURL(u)
	}
	if err != nil {
		var of *url.Error // it has the address in its text
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("rollcall: the address %q: %w", t.name, err)
	}
	port := u.Port()
	if u.Scheme == "udp" {
		t.udp, t.hostPort = true, net.JoinHostPort(u.Hostname(), port)
		return t, nil
	}
	t.url, t.host = u, strings.TrimSuffix(u.Host, ":")
	if port == "" {
		port = "80"
	}
	if u.Scheme == "wss" {
		if u.Port() == "" {
			port = "443"
		}
		t.tls = forHTTP(c.TLS)
	}
	t.hostPort = net.JoinHostPort(u.Hostname(), port)
	if name, zone, ok := strings.Cut(t.host, "%"); ok { // the zone of an address of IPv6 means nothing elsewhere
		_, after, _ := strings.Cut(zone, "]")
		t.host = name + "]" + after
	}
	return t, nil
}

// checkURL returns an error for a URL that cannot be connected to.
func (c *Config) checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "udp":
		return fmt.Errorf("the scheme is %s; a client connects to host:port, ws://, wss:// or udp://", u.Scheme)
	case u.Hostname() == "":
		return errors.New("the URL has no host")
	case u.User != nil:
		return errors.New("the URL has a user or a password, which are not sent: Config.Token and Config.Fields are for that")
	case u.Fragment != "":
		return errors.New("the URL has a fragment, behind #, which is not sent")
	case !isVisible(u.Host):
		return errors.New("the host is not written in ASCII")
	case !isVisible(u.RequestURI()):
		return errors.New("the query has a space, or what is not ASCII: it is to be escaped")
	case u.Scheme == "ws" && c.TLS != nil:
		return errors.New("Config.TLS is set, and ws:// is without TLS: use wss://")
	case u.Scheme == "udp" && c.TLS != nil:
		return errors.New("Config.TLS is set, and datagrams are not encrypted")
	case u.Scheme == "udp" && (u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.ForceQuery):
		return errors.New("udp:// is followed by a host and a port alone")
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("there is no port %s", port)
		}
	}
	return nil
}

// isVisible reports whether s consists of visible ASCII characters.
func isVisible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7F }) < 0
}

// shown returns an address without its query, and without a user and password.
func shown(addr string) string {
	addr, _, _ = strings.Cut(addr, "?")
	scheme, rest, _ := strings.Cut(addr, "://")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return scheme + "://" + rest
}

// forHTTP returns TLS settings with which a WebSocket begins. c may be nil.
func forHTTP(c *tls.Config) *tls.Config {
	if c == nil {
		return &tls.Config{NextProtos: []string{"http/1.1"}}
	}
	own := c.Clone()
	own.NextProtos = []string{"http/1.1"}
	return own
}

// open makes a connection to t.
func (c *Client) open(ctx context.Context, t *target) (opened, error) {
	network := "tcp"
	if t.udp {
		network = "udp"
	}
	nc, err := c.cfg.DialContext(ctx, network, t.hostPort)
	if err != nil {
		return opened{}, err
	}
	ready := false
	defer func() {
		if !ready { // perhaps because of a panic
			closeAtOnce(nc)
		}
	}()
	o := opened{nc: nc}
	if t.udp {
		if o.nc, err = speakUDP(ctx, nc); err != nil {
			return opened{}, err
		}
	}
	if t.tls != nil {
		if o.nc, err = secure(ctx, nc, t.tls, t.hostPort); err != nil {
			return opened{}, err
		}
	}
	if t.url != nil {
		if o.early, err = upgrade(ctx, o.nc, t); err != nil {
			return opened{}, err
		}
	}
	ready = true
	return o, nil
}

// movedTo returns the address that a server at addr has named, or "" for one without TLS where there was TLS. Where the server was
// reached by a URL, and names a host and port alone, the rest of the URL stays.
func movedTo(addr, named string) string {
	u, err := url.Parse(addr)
	switch {
	case !strings.Contains(addr, "://"), err != nil:
		return named
	case !strings.Contains(named, "://"):
		u.Host = named
		return u.String()
	case u.Scheme == "wss" && !strings.HasPrefix(strings.ToLower(named), "wss://"):
		return ""
	}
	return named
}
