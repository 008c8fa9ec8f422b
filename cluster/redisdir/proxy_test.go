package redisdir_test

import (
	"net"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// proxy passes bytes between clients and a server. A test can cut it: then no bytes pass, and neither side sees an error.
type proxy struct {
	listener net.Listener

	mu    sync.Mutex
	to    string
	open  *sync.Cond
	cut   bool
	over  bool
	conns []net.Conn
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	p := &proxy{listener: testkit.Must(net.Listen("tcp", "127.0.0.1:0")), to: to}
	p.open = sync.NewCond(&p.mu)
	var all sync.WaitGroup
	all.Go(func() { p.accept(&all) })
	t.Cleanup(func() {
		p.mu.Lock()
		p.over = true
		p.open.Broadcast()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		_ = p.listener.Close()
		all.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// setCut cuts the proxy, or heals it. Bytes that came meanwhile pass when it is healed.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.open.Broadcast()
}

// lead has the proxy lead to another server. Connections to the former server are closed.
func (p *proxy) lead(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) target() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to
}

func (p *proxy) accept(all *sync.WaitGroup) {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			if !p.pass(from) {
				return
			}
			to, err := net.Dial("tcp", p.target())
			if err != nil {
				_ = from.Close()
				return
			}
			if !p.pass(to) {
				return
			}
			var both sync.WaitGroup
			both.Go(func() { p.copy(to, from) })
			both.Go(func() { p.copy(from, to) })
			both.Wait()
		})
	}
}

// pass notes the connection and waits while the proxy is cut. It reports false when the test is over.
func (p *proxy) pass(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	for p.cut && !p.over {
		p.open.Wait()
	}
	if p.over {
		_ = c.Close()
	}
	return !p.over
}

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for p.cut && !p.over {
			p.open.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
