package engine_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// drip sends a byte of a header field at a time, until it is stopped or the connection is over. It returns what came back.
func drip(nc net.Conn, interval time.Duration, stop <-chan struct{}) []byte {
	var got []byte
	over := make(chan struct{})
	go func() {
		defer close(over)
		got, _ = io.ReadAll(nc)
	}()
	for {
		select {
		case <-over:
			return got
		case <-stop:
			_ = nc.Close()
			<-over
			return got
		case <-time.After(interval):
			_, _ = nc.Write([]byte{'a'})
		}
	}
}

const halfARequest = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "

// Rule 15: a request that does not end is waited for until Timeouts.Handshake, over TCP and Unix sockets, with TLS and without; bytes that come
// meanwhile do not make that longer, and nothing is answered.
func TestARequestHasItsTime(t *testing.T) {
	t.Parallel() // it mostly waits
	const timeout = 3 * time.Second
	sec := newSecurity(t)
	dir := t.TempDir()
	all := []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: sec.server}, {Network: "unix", Addr: filepath.Join(dir, "a")},
		{Network: "unix", Addr: filepath.Join(dir, "b"), TLS: sec.server}}
	for i := range all {
		all[i].WebSocket = new(engine.WebSocket)
	}
	e := newEcho(engine.Config{Listeners: all, Timeouts: engine.Timeouts{Handshake: timeout}})
	serve(t, e)
	var clients sync.WaitGroup
	for i, l := range all {
		addr := e.Addrs()[i]
		dial := func() net.Conn {
			nc, err := net.DialTimeout(addr.Network(), addr.String(), patience)
			if err != nil {
				t.Fatal(err)
			}
			if l.TLS != nil {
				nc = shakeHands(t, nc, sec.client).Conn
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			return nc
		}
		healthy := newPeer(t, upgraded(t, dial(), "localhost"))
		healthy.ask(1, 1, "")
		began := time.Now()
		nc := dial()
		_, _ = io.WriteString(nc, halfARequest)
		clients.Go(func() {
			name := fmt.Sprintf("%s, TLS %t", addr.Network(), l.TLS != nil)
			if got := drip(nc, 20*time.Millisecond, nil); len(got) > 0 {
				t.Errorf("%s: %q was answered", name, got)
			}
			if took := time.Since(began); took < timeout {
				t.Errorf("%s: the request was waited for for %v", name, took)
			}
		})
		t.Cleanup(func() { _ = healthy.Close() })
	}
	clients.Wait()
	if s := e.Stats(); s.Refused != (engine.Refusals{Handshake: uint64(len(all))}) || s.Conns.Open != len(all) {
		t.Errorf("Stats returned %+v", s)
	}
}

// Rule 15: so clients at many addresses that send their requests slowly keep others out no longer than slow TLS handshakes do, with the default
// limits and however long a handshake may take: limits by address do not hold them.
func TestSlowRequestsFromManyAddresses(t *testing.T) {
	t.Parallel() // it mostly waits
	const clients = 512
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{WebSocket: new(engine.WebSocket)}, {WebSocket: new(engine.WebSocket), TLS: sec.server}},
		Timeouts: engine.Timeouts{Handshake: time.Hour}, Accept: engine.Accept{MaxPerAddress: 1, MaxPerSubnet: 1}})
	serve(t, e)
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	for i := range clients {
		secure := i%2 == 1
		nc := bareFrom(t, fmt.Sprintf("127.%d.%d.1", 1+i/256, i%256), e.Addrs()[i%2].String())
		attackers.Go(func() { // behind the first ones there is no TLS handshake before they are given up on
			if secure {
				nc = tls.Client(nc, sec.client)
			}
			_, _ = io.WriteString(nc, halfARequest)
			drip(nc, 100*time.Millisecond, stop)
		})
	}
	eventually(t, "all have come", func() bool { return e.Stats().Accepted == clients })
	for i, addr := range e.Addrs() {
		nc := bareFrom(t, fmt.Sprintf("127.9.%d.1", i), addr.String())
		if i == 1 {
			nc = shakeHands(t, nc, sec.client).Conn
		}
		newPeer(t, upgraded(t, nc, "localhost")).ask(1, 1, "")
	}
	if s := e.Stats(); s.Refused.Address > 0 || s.Refused.Subnet > 0 || s.Refused.Handshake == 0 || s.Refused.Handshake > clients {
		t.Errorf("Stats returned %+v", s)
	}
	close(stop)
	attackers.Wait()
}
