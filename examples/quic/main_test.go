package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// start runs a server until stop is called or the test ends.
func start(t *testing.T, secure *tls.Config) (srv *rollcall.Server, addr string, stop func()) {
	t.Helper()
	srv, err := newServer("127.0.0.1:0", secure)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err == nil {
		err = srv.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, srv, pc, secure) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = pc.Close()
	})
	return srv, pc.LocalAddr().String(), cancel
}

func dial(t *testing.T, addr string, cfg client.Config) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cfg.Reconnect.Max = -1
	c, err := client.Dial(ctx, addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wantEnd waits for the end of a client, and wants it to have been told this.
func wantEnd(t *testing.T, c *client.Client, code protocol.CloseCode, text string) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the client has not ended")
	}
	var why *protocol.CloseError
	if !errors.As(c.Err(), &why) || why.Code != code || why.Text != text {
		t.Errorf("the client ended with %v, want %v: %s", c.Err(), code, text)
	}
}

// Rule 14: all that the contract promises holds for a connection over QUIC: a logon, requests, a kick with its code and text, a stop with
// its notice. It says that it is one, and knows the client's address and TLS.
func TestQUICFromTheLogonToTheStop(t *testing.T) {
	ca := testca.New(t)
	srv, addr, stop := start(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.Pool})
	left := make(chan protocol.CloseCode, 2)
	srv.Users.Subscribe(rollcall.Events{Disconnected: func(_ rollcall.SessionInfo, why protocol.CloseCode) { left <- why }})
	ann := dial(t, addr, byQUIC("ann", &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{ca.Issue("ann's device")}}))
	for c := range srv.Conns() {
		cert := c.PeerCertificate()
		if c.Transport() != "quic" || !c.RemoteAddr().IsValid() || cert == nil || cert.Subject.CommonName != "ann's device" {
			t.Errorf("a connection is from %v by %q, with %v", c.RemoteAddr(), c.Transport(), cert)
		}
	}
	bob, cid := dial(t, addr, byQUIC("bob", &tls.Config{RootCAs: ca.Pool})), dial(t, addr, byQUIC("cid", &tls.Config{RootCAs: ca.Pool}))
	for _, size := range []int{0, 1, 1000, 1_000_000} {
		body := bytes.Repeat([]byte("0123456789"), size/10)
		if m, err := ann.Request(t.Context(), echo, body); err != nil || !bytes.Equal(m.Body, body) {
			t.Fatalf("the answer to %d bytes is %v, %v", size, m, err)
		}
	}
	if _, err := srv.Users.Kick("ann", &usermgr.KickOptions{Text: "enough"}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, ann, protocol.KickedOut, "enough")
	if err := cid.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []protocol.CloseCode{protocol.KickedOut, protocol.ClientClosed} {
		if why := <-left; why != want {
			t.Errorf("a client left with %v, want %v", why, want)
		}
	}
	if m, err := bob.Request(t.Context(), echo, []byte("still here")); err != nil || string(m.Body) != "still here" {
		t.Errorf("the answer is %v, %v", m, err)
	}
	stop()
	wantEnd(t, bob, protocol.ServerStopping, "the server is stopping")
}

// A server keeps nothing for a client that has not proved its address: the first answer is always a Retry.
func TestAQUICClientMustProveItsAddress(t *testing.T) {
	ca := testca.New(t)
	_, addr, _ := start(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}})
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := &firstPacket{PacketConn: pc, came: make(chan byte, 1)}
	tr := &quic.Transport{Conn: first}
	defer func() { _ = tr.Close(); _ = pc.Close() }()
	qc, err := tr.Dial(t.Context(), to, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost", NextProtos: []string{"rollcall"}}, settings)
	if err != nil {
		t.Fatal(err)
	}
	_ = qc.CloseWithError(0, "")
	if b := <-first.came; b>>4 != 0b1111 { // a long header, of the type Retry: RFC 9000, 17.2.5
		t.Errorf("the first packet begins with %08b", b)
	}
}

// firstPacket keeps the first byte that has come.
type firstPacket struct {
	net.PacketConn
	came chan byte
}

func (f *firstPacket) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := f.PacketConn.ReadFrom(b)
	if n > 0 {
		select {
		case f.came <- b[0]:
		default:
		}
	}
	return n, from, err
}
