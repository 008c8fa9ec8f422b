package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Permission is what a request may do.
type Permission int

const (
	// None refuses everything.
	None Permission = iota
	// Ask refuses everything, and has a browser ask for a name and a password (HTTP's Basic authentication).
	Ask
	// View shows everything that is shown, and changes nothing.
	View
	// Act is View, and throws users out and bans them.
	Act
)

// Basic returns a Config.Authorize that grants a permission to requests with this user and password, by HTTP's Basic authentication, and
// asks others for them. It refuses requests that came without TLS from another machine, since the password would be readable on the way,
// and an address (for IPv6 a network of 64 bits) from which 10 wrong passwords came within a minute, until that minute is over. An empty
// password refuses everything. Behind a reverse proxy all requests have the proxy's address; let the proxy check passwords there.
func Basic(user, password string, may Permission) func(*http.Request) (who string, granted Permission) {
	want := digestOf(user, password)
	var failures failureLimit
	return func(r *http.Request) (string, Permission) {
		from := remoteOf(r)
		if password == "" || r.TLS == nil && !from.IsLoopback() {
			return "", None
		}
		name, given, ok := r.BasicAuth()
		if !ok {
			return "", Ask
		}
		if failures.tooMany(from) {
			return name, None
		}
		if got := digestOf(name, given); subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			failures.add(from)
			return name, Ask
		}
		return name, may
	}
}

// digestOf returns a digest of a name and a password, so that the time of a comparison tells nothing of either, not even a length.
func digestOf(user, password string) [sha256.Size]byte {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return sha256.Sum256(append(u[:], p[:]...))
}

// Loopback returns a Config.Authorize for pages on the server's own machine, and a token. It grants View to requests from this machine,
// and Act to those that also have the token, as "Authorization: Bearer TOKEN"; the page asks for it. Show the token to the one who starts
// the program, and do not store it.
//
// Loopback refuses a request unless its peer has a loopback address, its Host is localhost, an address of 127.0.0.0/8 or [::1], and no
// proxy has passed it on: it has none of the headers Forwarded, X-Forwarded-…, X-Real-IP and Via.
func Loopback() (authorize func(*http.Request) (who string, may Permission), token string) {
	token = rand.Text()
	want := digestOf("", token)
	return func(r *http.Request) (string, Permission) {
		if !remoteOf(r).IsLoopback() || !isLoopbackName(hostOf(r)) || isForwarded(r) {
			return "", None
		}
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if got := digestOf("", given); subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			return "this machine, with the token", Act
		}
		return "this machine", View
	}, token
}

// remoteOf returns the address that a request came from; the zero Addr where it has none.
func remoteOf(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// hostOf returns the name under which a request called this server, without the port and in lower case.
func hostOf(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func isLoopbackName(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func isForwarded(r *http.Request) bool {
	for name := range r.Header {
		switch {
		case name == "Forwarded", name == "Via", name == "X-Real-Ip", strings.HasPrefix(name, "X-Forwarded-"):
			return true
		}
	}
	return false
}

const (
	maxFailures     = 10
	failureWindow   = time.Minute
	maxFailureAddrs = 4096
)

// failureLimit counts wrong passwords by address.
type failureLimit struct {
	mu    sync.Mutex
	addrs map[netip.Prefix]failures
}

type failures struct {
	n     int
	since time.Time
}

// networkOf returns the address, or the IPv6 network, that failures count for.
func networkOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

func (l *failureLimit) tooMany(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.addrs[networkOf(a)]
	return f.n >= maxFailures && time.Since(f.since) < failureWindow
}

func (l *failureLimit) add(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.addrs) >= maxFailureAddrs { // more addresses than a person's mistakes have: they begin anew
		l.addrs = nil
	}
	if l.addrs == nil {
		l.addrs = make(map[netip.Prefix]failures)
	}
	p := networkOf(a)
	f := l.addrs[p]
	if f.n == 0 || time.Since(f.since) >= failureWindow {
		f = failures{since: time.Now()}
	}
	f.n++
	l.addrs[p] = f
}
