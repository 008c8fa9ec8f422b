package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// network is where a client's connections end: each arrives as a peer, which the test makes speak. Without a listener
// the connections are pipes, which have no buffer, and live in a synctest bubble.
type network struct {
	t     *testing.T
	ln    net.Listener
	conns chan net.Conn
	dials chan string // the address of each attempt, where the test wants to know
	fail  chan error  // the outcome of the next attempts, instead of a connection
	raw   bool        // the test itself answers the request of a WebSocket

	mu       sync.Mutex
	accepted []net.Conn
}

// pipes returns a network without sockets.
func pipes(t *testing.T) *network {
	return &network{t: t, conns: make(chan net.Conn), dials: make(chan string, 10_000), fail: make(chan error, 100)}
}

// sockets returns a network on loopback.
func sockets(t *testing.T) *network {
	t.Helper()
	n := pipes(t)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.ln = ln
	t.Cleanup(func() { _ = ln.Close() })
	return n
}

func (n *network) dialContext(ctx context.Context, netw, addr string) (net.Conn, error) {
	n.dials <- addr
	select {
	case err := <-n.fail:
		return nil, err
	default:
	}
	if n.ln != nil {
		return new(net.Dialer).DialContext(ctx, netw, n.ln.Addr().String())
	}
	ours, theirs := net.Pipe()
	select {
	case n.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// accept waits for the client's next connection.
func (n *network) accept() *peer {
	n.t.Helper()
	var nc net.Conn
	if n.ln != nil {
		var err error
		if nc, err = n.ln.Accept(); err != nil {
			n.t.Fatal(err)
		}
	} else {
		select {
		case nc = <-n.conns:
		case <-time.After(time.Hour): // of the bubble
			n.t.Fatal("the client does not connect")
		}
	}
	n.mu.Lock()
	n.accepted = append(n.accepted, nc)
	n.mu.Unlock()
	_ = nc.SetDeadline(time.Now().Add(time.Hour))
	if transportOf(n.t).web && !n.raw {
		nc = acceptWeb(n.t, nc)
	}
	return &peer{t: n.t, nc: nc}
}

// hangUp ends all connections from the server's side.
func (n *network) hangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, nc := range n.accepted {
		_ = nc.Close()
	}
}

// dial starts a client, and answers its logon with fields.
func (n *network) dial(cfg client.Config, fields map[string]string) (*client.Client, *peer) {
	n.t.Helper()
	cfg.DialContext = n.dialContext
	if cfg.UserID == "" {
		cfg.UserID = "alice"
	}
	type outcome struct {
		c   *client.Client
		err error
	}
	dialled := make(chan outcome, 1)
	go func() {
		c, err := client.Dial(context.Background(), transportOf(n.t).address("first:1"), cfg)
		dialled <- outcome{c, err}
	}()
	p := n.accept()
	p.welcome(fields)
	o := <-dialled
	if o.err != nil {
		n.t.Fatal(o.err)
	}
	n.t.Cleanup(func() {
		n.hangUp() // so that closing need not wait for the server
		closeAndWait(n.t, o.c)
	})
	return o.c, p
}

// refusal starts a client whose logon answer lets go wrong, and returns Dial's error.
func (n *network) refusal(cfg client.Config, answer func(p *peer, logon *protocol.Message)) error {
	n.t.Helper()
	cfg.DialContext = n.dialContext
	failed := make(chan error, 1)
	go func() {
		c, err := client.Dial(context.Background(), transportOf(n.t).address("first:1"), cfg)
		if err == nil {
			_ = c.Close()
		}
		failed <- err
	}()
	p := n.accept()
	answer(p, p.read())
	err := <-failed
	n.hangUp()
	return err
}

// receive is testkit.Receive.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	return testkit.Receive(t, what, ch)
}

// closeAndWait ends a client and waits for its last handler.
func closeAndWait(t *testing.T, c *client.Client) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-c.Done()
}

// peer is the server's side of a connection.
type peer struct {
	t  *testing.T
	nc net.Conn
	in wiretest.Reader
}

// read returns the client's next message.
func (p *peer) read() *protocol.Message {
	p.t.Helper()
	m, err := p.next()
	if err != nil {
		p.t.Fatalf("the client's next message: %v", err)
	}
	return m
}

// readEnd reads until the client ends its side, and returns the messages that came before.
func (p *peer) readEnd() (before []*protocol.Message) {
	p.t.Helper()
	for {
		m, err := p.next()
		if err == io.EOF {
			return before
		}
		if err != nil {
			p.t.Fatalf("until the client's end: %v", err)
		}
		before = append(before, m)
	}
}

func (p *peer) next() (*protocol.Message, error) { return p.in.Next(p.nc.Read) }

// readBytes returns the next n bytes as they are on the wire.
func (p *peer) readBytes(n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(io.MultiReader(&p.in, p.nc), b); err != nil {
		p.t.Fatal(err)
	}
	return b
}

// write sends messages to the client, in one piece.
func (p *peer) write(messages ...protocol.Message) {
	p.t.Helper()
	var b []byte
	for _, m := range messages {
		var err error
		if b, err = protocol.Binary.Append(b, &m); err != nil {
			p.t.Fatal(err)
		}
	}
	p.writeBytes(b)
}

func (p *peer) writeBytes(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// welcome reads the Logon, which it returns, and accepts it.
func (p *peer) welcome(fields map[string]string) *protocol.Message {
	p.t.Helper()
	logon := p.read()
	if logon.Type != protocol.TypeLogon {
		p.t.Fatalf("the first message has the type 0x%04x, want a Logon", logon.Type)
	}
	body, err := system.AppendLogonReply(nil, fields)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: logon.ID, Body: body})
	return logon
}

// refuse answers a Logon that was read.
func (p *peer) refuse(logon *protocol.Message, why protocol.CloseError) {
	p.t.Helper()
	body := system.AppendClose(nil, &why)
	p.write(protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: logon.ID, Body: body},
		protocol.Message{Type: protocol.TypeClose, Body: body})
}

// notice sends a Close.
func (p *peer) notice(why protocol.CloseError) {
	p.t.Helper()
	p.write(protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, &why)})
}

// code returns the close code in err's chain, and fails the test if there is none.
func code(t *testing.T, err error) protocol.CloseCode {
	t.Helper()
	var ce *protocol.CloseError
	if !errors.As(err, &ce) {
		t.Fatalf("the error is %v, want a *protocol.CloseError in its chain", err)
	}
	return ce.Code
}

// change is one call of OnState.
type change struct {
	state client.State
	err   error
}

// watch makes cfg report each change of state on the channel that it returns.
func watch(cfg *client.Config) <-chan change {
	changes := make(chan change, 1000)
	cfg.OnState = func(_ *client.Client, s client.State, err error) { changes <- change{s, err} }
	return changes
}

// expect reads changes until one has the state s, and returns its error.
func expect(t *testing.T, changes <-chan change, s client.State) error {
	t.Helper()
	select {
	case ch := <-changes:
		if ch.state != s {
			t.Fatalf("the state is %v (%v), want %v", ch.state, ch.err, s)
		}
		return ch.err
	case <-time.After(10 * time.Second):
		t.Fatalf("the state does not become %v", s)
		return nil
	}
}
